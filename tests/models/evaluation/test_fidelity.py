"""PSNR and SSIM against scikit-image, and what the papers make of them, by hand."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from standin_metrics import photograph_like

from models.evaluation.fidelity import Fidelity, compare, compare_aligned

EVERYWHERE = torch.ones(1, 1, 24, 32, dtype=torch.bool)


def pair():
    image = photograph_like(1, 24, 32)
    other = (image + 0.2 * torch.rand(image.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    return image, other


@pytest.mark.parametrize("size", [(7, 7), (24, 32), (61, 40)], ids=str)
def test_both_are_those_of_scikit_image_with_its_defaults(size):
    image = photograph_like(1, max(size[0], 16), max(size[1], 16))[..., : size[0], : size[1]]
    other = (image + 0.1 * torch.rand(image.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    found = compare(image, other)
    one, two = image[0].double().numpy(), other[0].double().numpy()
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(one, two, data_range=1), abs=1e-9)
    assert found.ssim == pytest.approx(structural_similarity(one, two, data_range=1, channel_axis=0), abs=1e-9)


def test_a_constant_error_gives_the_numbers_worked_out_by_hand():
    dark, light = torch.full((3, 16, 16), 0.5), torch.full((3, 16, 16), 0.6)
    found = compare(dark, light)  # MSE 0.01; nothing but luminance differs: 2 * 0.5 * 0.6 to 0.25 + 0.36
    assert found.psnr == pytest.approx(20, abs=1e-5)
    assert found.ssim == pytest.approx((0.6 + 1e-4) / (0.61 + 1e-4), abs=1e-6)
    assert found.quality == pytest.approx((0.983609 + 0.25) / 2, abs=1e-5)
    assert found.similarity == pytest.approx(0.983609 + 0.5, abs=1e-5)


def test_equal_images_get_the_papers_150_decibels():
    image, _ = pair()
    assert compare(image, image) == Fidelity(150.0, pytest.approx(1))
    assert compare(image, image).quality == pytest.approx((1 + 1.875) / 2)
    assert compare(image.double(), image.double() + 1e-8).psnr == 150, "and none gets more"


def test_an_image_of_another_size_is_resized_to_its_source():
    image = torch.full((1, 3, 20, 30), 0.25)
    assert compare(image, torch.full((1, 3, 10, 15), 0.25)).psnr == 150


def test_a_flip_is_punished_unless_it_is_mapped_back():
    image, _ = pair()
    flipped = image.flip(2, 3)
    assert compare(image, flipped).quality < 0.4
    assert compare_aligned(image, flipped.flip(2, 3), EVERYWHERE).psnr == 150


def test_aligned_with_everything_valid_is_the_plain_comparison():
    image, other = pair()
    assert compare_aligned(image, other, EVERYWHERE) == pytest.approx(compare(image, other))


def test_aligned_looks_only_at_valid_pixels_and_whole_windows():
    image, other = pair()
    valid = EVERYWHERE.clone()
    valid[..., :, 20:] = False
    spoiled = other.clone()
    spoiled[..., :, 20:] = 0
    found = compare_aligned(image, spoiled, valid)
    assert found == pytest.approx(compare(image[..., :20], other[..., :20]))


def test_nothing_to_compare_is_not_a_number():
    image, other = pair()
    found = compare_aligned(image, other, torch.zeros_like(EVERYWHERE))
    assert math.isnan(found.psnr)
    assert math.isnan(found.ssim)


@pytest.mark.parametrize("shape", [(3, 6, 32), (1, 24, 32), (2, 3, 24, 32)], ids=str)
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match="one image"):
        compare(torch.zeros(shape), torch.zeros(shape))
