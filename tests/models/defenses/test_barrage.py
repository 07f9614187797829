import json
from collections import Counter
from itertools import permutations

import pytest
import torch
from pydantic import ValidationError

from models import sequences
from models.defense import Cost
from models.defenses import make_defense, parse_defense
from models.noise import Noise

THREE = [{"name": "jpeg", "quality": 10}, {"name": "gaussian-blur", "kernel": 5}, {"name": "median-blur", "kernel": 5}]


def barrage(*among, count=1):
    among = [{"name": one} if isinstance(one, str) else one for one in among]
    return make_defense({"name": "barrage", "among": among, "count": count})


def test_each_image_goes_through_some_of_them_in_some_order_and_every_order_comes(picture):
    expected = {
        order: make_defense({"name": "chain", "steps": [THREE[index] for index in order]})(picture)
        for order in permutations(range(3), 2)
    }
    seen = Counter()
    for seed in range(120):
        purified = barrage(*THREE, count=2)(picture, seed)
        seen.update(order for order, image in expected.items() if torch.equal(purified, image))
    assert sum(seen.values()) == 120
    assert len(seen) == 6
    assert min(seen.values()) >= 8, "each about 20 times"


def test_images_of_a_batch_go_different_ways(picture):
    purified = barrage(*THREE)(picture.expand(16, -1, -1, -1), list(range(16)))
    assert len({image.numpy().tobytes() for image in purified}) == 3


def test_what_is_drawn_says_nothing_of_what_that_draws(picture):
    noise = {"name": "random-noise", "sigma": 0.05}
    gray = torch.full_like(picture, 0.5)
    for seed in range(3):
        drawn = make_defense(noise)(gray, seed)
        assert not torch.equal(barrage(noise, {**noise, "sigma": 0.0501})(gray, seed), drawn)
        again = sequences.purify([make_defense(noise)], gray, Noise.for_batch(seed, 1).child(1, "barrage"))
        assert torch.equal(barrage(noise)(gray, seed), again)


def test_gradients_are_exact_where_they_exist_and_straight_through_where_not(picture):
    weights = torch.randn_like(picture)
    images = (0.3 + 0.4 * picture).requires_grad_()
    (gradient,) = torch.autograd.grad(barrage("color-quantization", "flip", count=2)(images), images, weights)
    torch.testing.assert_close(gradient, weights.flip(2, 3))
    assert barrage("unsharp", "flip").is_differentiable
    assert not barrage("unsharp", "jpeg").is_differentiable


def test_aligning_undoes_what_was_drawn():
    y, x = torch.arange(70)[:, None], torch.arange(90)
    image = torch.stack([0.2 + y / 140 + 0 * x, 0.2 + x / 180 + 0 * y, 0.7 - (x + y) / 400]).repeat(6, 1, 1, 1)
    defense, seeds = barrage("flip", "rotate", count=2), list(range(6))
    aligned = defense.align(defense(image, seeds), (70, 90), seeds)
    assert 0.8 < aligned.valid.float().mean() < 1
    assert (aligned.images - image).abs()[aligned.valid.expand_as(image)].max() < 0.03


def test_what_it_costs_is_what_the_dearest_that_it_may_draw_cost():
    dear, size = barrage("fcn", "jpeg", "flip", count=2), (100, 200)
    fcn, jpeg = make_defense({"name": "fcn"}), make_defense({"name": "jpeg"})
    assert dear.effective_cost is Cost.NETWORK
    assert dear.work(size) == fcn.work(size) + jpeg.work(size)
    assert dear.largest(size) == 20_000
    assert not dear.is_batchable


def test_one_alone_is_random_only_if_it_is():
    assert barrage("jpeg", "flip").is_stochastic
    assert barrage("rotate").is_stochastic
    assert not barrage("jpeg").is_stochastic


def test_it_cannot_be_used_where_one_that_it_may_draw_cannot():
    found = barrage("flip", "mprnet").availability()
    assert not found.available
    assert "mprnet" in found.explanation


def test_the_next_step_of_a_chain_draws_something_else_than_what_it_draws_as_the_first(picture):
    gray, noise = torch.full_like(picture, 0.5), {"name": "random-noise", "sigma": 0.02}
    chain = make_defense({"name": "chain", "steps": [{"name": "barrage", "among": [noise], "count": 1}, noise]})
    assert (chain(gray, 3) - gray).std() == pytest.approx(0.02 * 2**0.5, rel=0.03)  # the same twice: 0.04


def test_a_chain_may_hold_it(picture):
    chain = make_defense(
        {"name": "chain", "steps": [{"name": "flip"}, {"name": "barrage", "among": THREE, "count": 1}]}
    )
    ways = {chain(picture, seed).numpy().tobytes() for seed in range(20)}
    assert len(ways) == 3


@pytest.mark.parametrize(
    ("among", "count", "reason"),
    [
        ([], 1, "at least 1 item"),
        ([{"name": "flip"}] * 9, 1, "at most 8 items"),
        ([{"name": "flip"}], 2, "count is 2, but there are only 1 defenses to draw from"),
        ([{"name": "flip"}, {"name": "resize"}], 1, "resize with these parameters changes the size of images"),
        ([{"name": "random-crop", "size": 2048}], 1, "random-crop with these parameters changes the size"),
        ([{"name": "chain", "steps": [{"name": "flip"}]}], 1, "a barrage cannot hold a chain or a barrage"),
        ([{"name": "barrage"}], 1, "a barrage cannot hold a chain or a barrage"),
        (["flip"], 1, "valid dictionary"),
        ([{"name": "nope"}], 1, "nope"),
        (7, 1, "valid tuple"),
    ],
)
def test_others_are_refused_with_a_reason(among, count, reason):
    with pytest.raises(ValidationError, match=reason):
        parse_defense(json.dumps({"name": "barrage", "among": among, "count": count}))


def test_a_deep_nest_is_refused_at_once():
    text = '{"name": "barrage", "among": [' * 400 + '{"name": "flip"}' + "]}" * 400
    with pytest.raises(ValidationError, match="a barrage cannot hold"):
        parse_defense(text)


@pytest.mark.parametrize("among", ["flip", {"name": "flip"}])
def test_what_is_no_list_to_draw_from_is_told_once_and_not_letter_by_letter(among):
    with pytest.raises(ValidationError) as refused:
        make_defense({"name": "barrage", "among": among})
    assert [(one["loc"], one["type"]) for one in refused.value.errors()] == [(("among",), "tuple_type")]
