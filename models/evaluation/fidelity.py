"""How like two images are: PSNR and SSIM as scikit-image computes them, and what the two papers make of both."""

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

PSNR_OF_EQUAL = 150.0
"""Decibels that stand for two equal images, whose PSNR is infinite: as in the code of arXiv 2404.06957."""
WINDOW = 7
"""Side of SSIM's windows in pixels: scikit-image's default, which both papers use."""
C1, C2 = 0.01**2, 0.03**2


class Fidelity(NamedTuple):
    """How like an image is to the one it should show."""

    psnr: float
    """Decibels, at most `PSNR_OF_EQUAL`; NaN if there was no pixel to compare."""
    ssim: float
    """At most 1; NaN if there was no whole window to compare."""

    @property
    def quality(self) -> float:
        """(SSIM + PSNR / 80) / 2, the quality score of arXiv 2404.06957 (Gushchin et al.)."""
        return (self.ssim + self.psnr / 80) / 2

    @property
    def similarity(self) -> float:
        """SSIM + PSNR / 40, the similarity score of arXiv 2408.01541 (Guardians of Image Quality)."""
        return self.ssim + self.psnr / 40


def compare(source: Tensor, image: Tensor) -> Fidelity:
    """Compare an image with its source as the papers do, both (3, H, W) or (1, 3, H, W) in [0, 1].

    Geometry is not undone: a flipped image counts as a wrong one. If the sizes differ, `image` is resized to the
    source's first, bilinearly. Raises ValueError for a side below 7 pixels or shapes that are not images.
    """
    source, image = _image(source), _image(image)
    if image.shape != source.shape:
        size = (source.shape[2], source.shape[3])
        image = F.interpolate(image, size=size, mode="bilinear", align_corners=False)
    return Fidelity(psnr(source, image), ssim(source, image))


def compare_aligned(source: Tensor, image: Tensor, valid: Tensor) -> Fidelity:
    """Compare an image mapped back onto its source's grid, where it is `valid`: bool, (1, H, W) or (1, 1, H, W).

    PSNR is that of the valid pixels, SSIM that of the windows which hold only valid pixels; ours, in neither paper.
    Raises ValueError as `compare`, and for sizes that differ.
    """
    source, image, valid = _image(source), _image(image), valid.reshape(1, 1, *valid.shape[-2:])
    if image.shape != source.shape or valid.shape[2:] != source.shape[2:]:
        raise ValueError(f"aligned images have their source's size {tuple(source.shape)}, got {tuple(image.shape)}")
    return Fidelity(psnr(source, image, valid), ssim(source, image, valid))


def psnr(source: Tensor, image: Tensor, valid: Tensor | None = None) -> float:
    """Return 10 log10(1 / MSE) over all values, or those of `valid` pixels, (1, 1, H, W), of images (1, 3, H, W)."""
    squares = (source.double() - image.double()).square()
    if valid is not None:
        squares = squares[valid.expand_as(squares)]
    error = squares.mean().item()
    return PSNR_OF_EQUAL if error == 0 else min(-10 * math.log10(error), PSNR_OF_EQUAL)


def ssim(source: Tensor, image: Tensor, valid: Tensor | None = None) -> float:
    """Return the mean structural similarity of images (1, 3, H, W), of windows that lie within `valid`, (1, 1, H, W).

    That of `skimage.metrics.structural_similarity(..., data_range=1, channel_axis=0)`: square windows of 7 pixels that
    lie within the image, sample covariances, channels apart and then averaged. Wang et al., Image quality assessment:
    from error visibility to structural similarity, 2004. `models.ssim` is the other usual kind, with Gaussian windows.
    """
    one, other = source.double(), image.double()
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mean, other_mean = _means(one), _means(other)
    variance = unbiased * (_means(one * one) - mean * mean)
    other_variance = unbiased * (_means(other * other) - other_mean * other_mean)
    covariance = unbiased * (_means(one * other) - mean * other_mean)
    luminance = (2 * mean * other_mean + C1) / (mean.square() + other_mean.square() + C1)
    similarity = luminance * (2 * covariance + C2) / (variance + other_variance + C2)
    if valid is not None:
        whole = -F.max_pool2d(-valid.double(), WINDOW, stride=1) > 0
        similarity = similarity[whole.expand_as(similarity)]
    return similarity.mean().item()


def _means(values: Tensor) -> Tensor:
    return F.avg_pool2d(values, WINDOW, stride=1)


def _image(image: Tensor) -> Tensor:
    image = image if image.ndim == 4 else image[None]
    if image.ndim != 4 or tuple(image.shape[:2]) != (1, 3) or min(image.shape[2:]) < WINDOW:
        raise ValueError(f"need one image (3, H, W) of at least {WINDOW} pixels a side, got {tuple(image.shape)}")
    return image
