import json

import pytest
import torch
from pydantic import ValidationError

from models.defense import Cost, Defense
from models.defenses import DEFENSES, make_defense, parse_defense
from models.defenses.chain import Chain
from models.noise import Noise, derive_seed

STOCHASTIC = [{"name": "random-noise", "sigma": 0.1}, {"name": "rotate"}, {"name": "random-crop", "size": 32}]


def chain(*steps):
    return make_defense(
        {"name": "chain", "steps": [{"name": step} if isinstance(step, str) else step for step in steps]}
    )


@pytest.mark.parametrize(
    "name", [name for name, kind in DEFENSES.items() if name != "chain" and kind().availability().available]
)
def test_a_chain_of_one_is_that_one(name, picture):
    alone, chained = make_defense({"name": name}), chain(name)
    assert torch.equal(chained(picture, 11), alone(picture, 11))
    for one, other in zip(chained.align(picture, (96, 128), 1), alone.align(picture, (96, 128), 1), strict=True):
        assert torch.equal(one, other)


def test_a_chain_is_its_steps_one_after_the_other_each_with_its_own_seed(picture):
    expected = picture
    for index, step in enumerate(STOCHASTIC):
        expected = make_defense(step)(expected, derive_seed(11, index, "part"))
    assert torch.equal(chain(*STOCHASTIC)(picture, 11), expected)


def test_equal_steps_draw_different_noise(picture):
    gray = torch.full_like(picture, 0.5)
    noise = {"name": "random-noise", "sigma": 0.05}
    once, twice = (chain(*[noise] * count)(gray, 3).std() for count in (1, 2))
    assert abs(twice / once - 2**0.5) < 0.05  # equal noise would double it


def test_a_step_without_a_gradient_leaves_the_others_theirs(picture):
    steps = ["gaussian-blur", {"name": "jpeg", "quality": 20}, "median-blur", "color-quantization", "unsharp"]
    weights = torch.randn_like(picture)
    together, apart = picture.clone().requires_grad_(), picture.clone().requires_grad_()
    value = apart
    for step in steps:
        value = chain(step)(value)
    (expected,) = torch.autograd.grad(value, apart, weights)
    (gradient,) = torch.autograd.grad(chain(*steps)(together), together, weights)
    torch.testing.assert_close(gradient, expected)
    assert not torch.allclose(gradient, weights, atol=0.1)


def test_the_middle_of_a_chain_is_straight_through_and_the_rest_exact(picture):
    images = (0.3 + 0.4 * picture).requires_grad_()
    weights = torch.randn_like(picture)
    (gradient,) = torch.autograd.grad(chain("flip", "color-quantization", "flip")(images), images, weights)
    torch.testing.assert_close(gradient, weights)
    (gradient,) = torch.autograd.grad(chain("flip", "color-quantization")(images), images, weights)
    torch.testing.assert_close(gradient, weights.flip(2, 3))


def test_facts_are_those_of_the_steps():
    assert chain("flip", "unsharp").is_differentiable
    assert not chain("flip", "jpeg").is_differentiable
    assert chain("jpeg", "rotate").is_stochastic
    assert not chain("jpeg", {"name": "rotate", "limit": 0}).is_stochastic
    assert chain("jpeg", "flip").effective_cost is Cost.CHEAP


def test_the_cost_is_that_of_the_most_costly_step():
    class Costly(Defense):
        name: str = "costly"
        differentiable = stochastic = False
        level: Cost

        @property
        def effective_cost(self):
            return self.level

        def purify(self, images, noise):
            return images

    for levels, expected in [
        ((Cost.CHEAP, Cost.NETWORK), Cost.NETWORK),
        ((Cost.DIFFUSION, Cost.NETWORK, Cost.CHEAP), Cost.DIFFUSION),
    ]:
        assert Chain.model_construct(steps=tuple(Costly(level=level) for level in levels)).effective_cost is expected


def test_sizes_are_handed_on():
    steps = [{"name": "resize", "scale": 0.5}, {"name": "random-crop", "size": 40}, {"name": "resize", "scale": 0.9}]
    assert chain(*steps).output_size((100, 60)) == (36, 27)
    assert chain(*steps)(torch.rand(1, 3, 100, 60)).shape == (1, 3, 36, 27)
    assert chain(*[{"name": "resize", "scale": 0.1}] * 8).output_size((4000, 17)) == (16, 16)


@pytest.mark.parametrize(
    "steps",
    [
        [{"name": "random-crop", "size": 48}, "flip", {"name": "resize", "scale": 0.7}],
        [{"name": "rotate", "limit": 20}, {"name": "random-crop", "size": 60}, {"name": "flip", "axis": "vertical"}],
        [{"name": "resize", "scale": 0.6}, {"name": "random-crop", "size": 30}, {"name": "rotate", "limit": 40}],
    ],
    ids=["crop-flip-resize", "rotate-crop-flip", "resize-crop-rotate"],
)
def test_aligning_undoes_the_steps_backwards(steps):
    y, x = torch.arange(70)[:, None], torch.arange(90)
    image = torch.stack([0.2 + y / 140 + 0 * x, 0.2 + x / 180 + 0 * y, 0.7 - (x + y) / 400]).repeat(3, 1, 1, 1)
    defense, seeds = chain(*steps), [1, 2, 3]
    aligned = defense.align(defense(image, seeds), (70, 90), seeds)
    assert aligned.images.shape == image.shape
    share = aligned.valid.float().mean()
    assert 0.1 < share < 0.95
    assert (aligned.images - image).abs()[aligned.valid.expand_as(image)].max() < 0.03


def test_what_one_step_lost_stays_lost(picture):
    defense = chain({"name": "random-crop", "size": 32}, "flip")
    aligned = defense.align(defense(picture, 4), (96, 128), 4)
    crop = make_defense({"name": "random-crop", "size": 32})
    assert torch.equal(aligned.valid, crop.restore(crop(picture, 4), (96, 128), Noise([4])).valid)
    assert aligned.valid.sum() == 32 * 32


def test_a_chain_in_a_chain_is_refused_with_a_reason():
    inner = {"name": "chain", "steps": [{"name": "flip"}]}
    for wrong in (inner, make_defense(inner)):
        with pytest.raises(ValidationError, match="a chain cannot hold a chain; list its steps instead"):
            make_defense({"name": "chain", "steps": [{"name": "jpeg"}, wrong]})


def test_a_deep_nest_of_chains_is_refused_at_once():
    text = '{"name": "chain", "steps": [' * 400 + '{"name": "flip"}' + "]}" * 400
    with pytest.raises(ValidationError, match="a chain cannot hold a chain"):
        parse_defense(text)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([], "at least 1 item"),
        ([{"name": "flip"}] * 9, "at most 8 items"),
        ([{"name": "nope"}], "nope"),
        ([{"name": "jpeg", "quality": 0}], "greater than or equal to 1"),
        ([{}], "discriminator"),
        (["flip"], "valid dictionary"),
        ("flip", "valid"),
        ({"name": "flip"}, "valid"),
        (7, "valid tuple"),
    ],
)
def test_other_steps_are_refused_with_a_reason(steps, reason):
    with pytest.raises(ValidationError, match=reason):
        parse_defense(json.dumps({"name": "chain", "steps": steps}))


@pytest.mark.parametrize("steps", ["flip", {"name": "flip"}])
def test_what_is_no_list_of_steps_is_told_once_and_not_letter_by_letter(steps):
    with pytest.raises(ValidationError) as refused:
        make_defense({"name": "chain", "steps": steps})
    assert [(one["loc"], one["type"]) for one in refused.value.errors()] == [(("steps",), "tuple_type")]
