"""What every defense does to images. A new file in models/defenses/ is held to all of it without a line here."""

import pytest
import torch
from defense_cases import (
    EVERY_DEFENSE,
    EVERY_RUNNABLE_CLASS,
    GEOMETRIC,
    noise_images,
    runnable,
    smooth_image,
    variants,
    width_for,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from models.defense import Cost
from models.tensors import MIN_SIDE

SIZES = [(16, 16), (17, 33), (31, 64)]
FORGETFUL = {"fcn": "its instance norm forgets how bright and how full of contrast an image was, as published"}


def assert_is_an_image(purified, count, size):
    assert purified.shape == (count, 3, *size)
    assert purified.dtype == torch.float32
    assert purified.isfinite().all()
    assert purified.min() >= 0
    assert purified.max() <= 1


@pytest.mark.parametrize("size", SIZES, ids=str)
@EVERY_DEFENSE
def test_the_output_is_an_image_of_the_promised_size_and_the_input_is_untouched(defense, size):
    images = noise_images(2, *size)
    before = images.clone()
    purified = defense(images, [1, 2])
    assert_is_an_image(purified, 2, defense.output_size(size))
    assert torch.equal(images, before)
    assert purified.data_ptr() != images.data_ptr()
    assert min(defense.output_size(size)) >= MIN_SIDE


@EVERY_RUNNABLE_CLASS
@settings(max_examples=8, deadline=None, database=None, derandomize=True)
@given(height=st.integers(MIN_SIDE, 70), width=st.integers(MIN_SIDE, 70))
def test_any_size_is_purified(defense_class, height, width):
    defense = defense_class()
    assert_is_an_image(defense(noise_images(1, height, width)), 1, defense.output_size((height, width)))


@EVERY_DEFENSE
def test_an_image_and_its_seed_decide_the_output_alone_or_in_a_batch(defense):
    images = noise_images(3, 21, 40)
    together = defense(images, [4, 5, 6])
    alone = torch.cat([defense(images[i : i + 1], 4 + i) for i in range(3)])
    again = defense(images, [4, 5, 6])
    tolerance = 0 if defense.effective_cost is Cost.CHEAP else 1e-4
    torch.testing.assert_close(together, alone, rtol=0, atol=tolerance)
    torch.testing.assert_close(together, again, rtol=0, atol=tolerance)


@EVERY_DEFENSE
def test_the_seed_matters_exactly_if_the_defense_is_stochastic(defense):
    images = noise_images(1, 18, width_for(defense)).expand(4, -1, -1, -1)
    purified = defense(images, [1, 2, 3, 4])
    changed = any(not torch.equal(purified[0], other) for other in purified[1:])
    assert changed == defense.is_stochastic
    same = defense(images[:2], 9)
    assert torch.equal(same[0], same[1])


@EVERY_RUNNABLE_CLASS
def test_every_parameter_matters(defense_class):
    images = 0.99 * noise_images(1, 18, width_for(defense_class()))  # between the 8-bit levels
    for label, defense, default in variants(defense_class):
        if runnable(defense):
            purified, expected = defense(images, 3), default(images, 3)
            assert purified.shape != expected.shape or not torch.equal(purified, expected), label


@EVERY_DEFENSE
def test_memory_layout_does_not_matter(defense):
    images = noise_images(2, 20, 37)
    expected = defense(images, 3)
    for view in (
        images.transpose(2, 3).contiguous().transpose(2, 3),
        images.contiguous(memory_format=torch.channels_last),
        torch.cat([images, images], dim=3)[..., :37],
    ):
        assert not view.is_contiguous()
        assert torch.equal(defense(view, 3), expected)


@GEOMETRIC
def test_aligning_a_geometric_defense_brings_the_image_back_to_its_place(defense):
    image = smooth_image(70, 90).repeat(2, 1, 1, 1)
    aligned = defense.align(defense(image, [1, 2]), (70, 90), [1, 2])
    assert aligned.valid.any(dim=(1, 2, 3)).all()
    errors = (aligned.images - image).abs()[aligned.valid.expand_as(image)]
    assert errors.mean() < 0.01


@EVERY_DEFENSE
def test_aligning_gives_an_image_and_a_mask_of_the_input_size(defense):
    images = noise_images(2, 33, 20)
    purified = defense(images, [1, 2])
    aligned = defense.align(purified, (33, 20), [1, 2])
    assert aligned.images.shape == images.shape
    assert aligned.images.isfinite().all()
    assert aligned.valid.shape == (2, 1, 33, 20)
    assert aligned.valid.dtype == torch.bool


@EVERY_RUNNABLE_CLASS
def test_the_default_parameters_hardly_change_a_smooth_image(defense_class, request):
    if defense_class().name in FORGETFUL:
        request.applymarker(pytest.mark.xfail(strict=True, reason=FORGETFUL[defense_class().name]))
    defense, image = defense_class(), smooth_image(70, 90)
    aligned = defense.align(defense(image, 1), (70, 90), 1)
    assert (aligned.images - image).abs()[aligned.valid.expand_as(image)].mean() < 0.03
