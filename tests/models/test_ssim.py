"""Structural similarity, against scikit-image."""

import pytest
import torch
from skimage.metrics import structural_similarity
from standin_metrics import photograph_like

from models.ssim import ssim


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (64, 40)], ids=str)
def test_it_is_that_of_scikit_image_with_wangs_window(size):
    images = photograph_like(2, *size)
    others = (images + 0.1 * torch.rand(images.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    expected = [
        structural_similarity(
            one.numpy(), other.numpy(), data_range=1.0, channel_axis=0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for one, other in zip(images, others, strict=True)
    ]  # fmt: skip
    assert ssim(images, others).tolist() == pytest.approx(expected, abs=2e-5)


def test_an_image_is_like_itself_and_the_gradient_leads_back():
    images = photograph_like(1, 16, 16)
    assert ssim(images, images).item() == pytest.approx(1)
    other = (images * 0.8).requires_grad_()
    (gradient,) = torch.autograd.grad(ssim(other, images).sum(), other)
    assert (gradient * (images - other)).sum() > 0
