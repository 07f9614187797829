"""Structural similarity with a gradient, as Wang et al. (2004) define it."""

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Return the mean structural similarity of each pair of images in [0, 1], (N, C, H, W), H and W >= 11, as (N,).

    Windows are Gaussian, 11x11 of sigma 1.5, and lie within the image; channels are compared apart and averaged.
    Wang et al., Image quality assessment: from error visibility to structural similarity, 2004.
    """
    offsets = torch.arange(WINDOW).to(images) - WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    window /= window.sum()
    count, channels = images.shape[:2]

    def blur(values: Tensor) -> Tensor:
        rows = F.conv2d(values.flatten(0, 1)[:, None], window.view(1, 1, -1, 1))
        return F.conv2d(rows, window.view(1, 1, 1, -1))

    mean, other_mean = blur(images), blur(others)
    variance = blur(images * images) - mean * mean
    other_variance = blur(others * others) - other_mean * other_mean
    covariance = blur(images * others) - mean * other_mean
    luminance = (2 * mean * other_mean + C1) / (mean * mean + other_mean * other_mean + C1)
    structure = (2 * covariance + C2) / (variance + other_variance + C2)
    return (luminance * structure).view(count, channels, -1).mean(dim=(1, 2))
