"""OpenCV's and torch's paths of the shared filters hold each other."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import filters

KERNELS = range(3, filters.MAX_KERNEL + 1, 2)


def noise_images(height, width, seed=0):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def levels(images):
    return (images * 255).round() / 255


def torch_median(images, kernel):
    return filters.median_torch(filters._reflect(images, kernel // 2), kernel)


@pytest.mark.parametrize("sigma", [0.4, 0.8, 1, 3, 16])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_gaussian_kernel_is_opencvs(kernel, sigma):
    expected = cv2.getGaussianKernel(kernel, sigma)[:, 0]
    np.testing.assert_allclose(filters.gaussian_kernel(kernel, sigma), expected, atol=1e-7)


@pytest.mark.parametrize("kernel", [11, 13, 21, 31])  # OpenCV has hand-rounded kernels up to 9
def test_sigma_zero_is_opencvs_rule(kernel):
    expected = cv2.getGaussianKernel(kernel, 0)[:, 0]
    np.testing.assert_allclose(filters.gaussian_kernel(kernel, 0), expected, atol=1e-7)


def test_the_smallest_sigma_is_the_identity():
    images = noise_images(16, 16)
    assert torch.equal(filters.gaussian_blur(images, 3, 5e-324), images)


@pytest.mark.parametrize("kernel", KERNELS)
def test_both_gaussian_paths_agree(kernel):
    images = noise_images(16, 37)
    by_torch = filters.gaussian_blur(images.requires_grad_(), kernel).detach()
    with torch.no_grad():
        by_opencv = filters.gaussian_blur(images, kernel)
    torch.testing.assert_close(by_torch, by_opencv, rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [lambda images: images, levels], ids=["float", "8-bit"])
@pytest.mark.parametrize("kernel", [3, 5, 7, 11, 31])
def test_all_median_paths_agree_to_the_bit(kernel, make):
    images = make(noise_images(16, 37))
    assert torch.equal(filters.median_blur(images, kernel), torch_median(images, kernel))


@settings(max_examples=15, deadline=None, database=None, derandomize=True)
@given(
    height=st.integers(16, 40),
    width=st.integers(16, 40),
    kernel=st.sampled_from(KERNELS),
    eight_bits=st.booleans(),
    seed=st.integers(0, 9),
)
def test_the_median_is_numpys_at_any_size(height, width, kernel, eight_bits, seed):
    image = noise_images(height, width, seed)[:1, :1]
    image = levels(image) if eight_bits else image
    padded = np.pad(image[0, 0].numpy(), kernel // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel))
    assert np.array_equal(filters.median_blur(image, kernel)[0, 0].numpy(), np.median(windows, axis=(2, 3)))


@pytest.mark.parametrize("budget", [1, 4000])
def test_a_median_in_strips_is_the_median(budget, monkeypatch):
    images = noise_images(30, 20)
    expected = filters.median_blur(images, 7), torch_median(images, 7)
    monkeypatch.setattr(filters, "_WINDOW_BUDGET", budget)
    assert torch.equal(filters.median_blur(images, 7), expected[0])
    assert torch.equal(torch_median(images, 7), expected[1])


def test_8_bit_levels_are_used_only_if_they_lose_nothing():
    plane = noise_images(16, 16)[0, 0].numpy()
    assert filters._as_levels(plane) is None
    eight_bits = np.round(plane * 255) * np.float32(1 / 255)  # not the same last bit as a division gives
    found, values = filters._as_levels(eight_bits)
    assert np.array_equal(values[found], eight_bits)


@pytest.mark.parametrize("kernel", [3, 7])
def test_the_gradient_of_a_median_goes_to_the_value_it_took(kernel):
    images = noise_images(16, 19).requires_grad_()
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(filters.median_blur(images, kernel), images, weights)
    (expected,) = torch.autograd.grad(torch_median(images, kernel), images, weights)
    torch.testing.assert_close(gradient, expected)


def test_the_gradient_of_a_median_over_equals_stays_in_its_place():
    flat = torch.full((1, 1, 16, 16), 0.5, requires_grad=True)
    weights = torch.rand(1, 1, 16, 16)
    (gradient,) = torch.autograd.grad(filters.median_blur(flat, 5), flat, weights)
    assert torch.equal(gradient, weights)
