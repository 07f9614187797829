"""Three convolutions over the whole image, in strips of bounded memory: the paper's network."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HALO = 3
"""How far, in pixels, a pixel's surroundings reach into its result through the convolutions."""
PIXELS_AT_ONCE = 2**18
"""Of a whole batch: 64 channels of them are 64 MB."""


class FCNet(nn.Module):
    """The FCN filter of Gushchin et al. (arXiv 2404.06957): 11,459 parameters, no skip connection, a tanh at the end.

    Three 3x3 convolutions with zero padding, 3 to 64 to 16 to 3 channels, LeakyReLU of slope 0.2 between; the second
    is followed by an instance norm without parameters, so that every pixel depends on statistics of the whole image.
    The names of the parameters are those of their checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1)
        self.conv2 = nn.Conv2d(64, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the filtered images, in [-1, 1], of RGB in [0, 1], (N, 3, H, W)."""
        return torch.tanh(self.filtered(images))

    def filtered(self, images: Tensor) -> Tensor:
        """Return what the last convolution makes of images (N, 3, H, W); large ones are computed in strips, exactly."""
        images = images.contiguous(memory_format=torch.channels_last)
        strips = list(_strips(images.shape[2], max(1, PIXELS_AT_ONCE // (len(images) * images.shape[3]))))
        if len(strips) == 1:
            hidden = self._hidden(images)
            return self._last(hidden, moments([hidden]))
        inner = (self._hidden(images[:, :, one.outer])[:, :, one.inner] for one in strips)
        known = moments(inner)
        result = torch.empty_like(images)
        for one in strips:
            part = self._last(self._hidden(images[:, :, one.outer]), known)
            result[:, :, one.outer][:, :, one.inner] = part[:, :, one.inner]
        return result

    def _hidden(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.conv2(F.leaky_relu(self.conv1(images), 0.2, inplace=True))
        return hidden

    def _last(self, hidden: Tensor, known: tuple[Tensor, Tensor]) -> Tensor:
        mean, variance = known
        normalized = (hidden - mean) * torch.rsqrt(variance + 1e-5)
        result: Tensor = self.conv3(F.leaky_relu(normalized, 0.2, inplace=True))
        return result


def moments(parts: Iterator[Tensor] | Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return each channel's mean and biased variance over all parts of each image, both (N, C, 1, 1)."""
    counts, means, variances = [], [], []
    for part in parts:
        variance, mean = torch.var_mean(part, dim=(2, 3), correction=0, keepdim=True)
        counts.append(part.shape[2] * part.shape[3])
        means.append(mean)
        variances.append(variance)
    if len(counts) == 1:
        return means[0], variances[0]
    share = (torch.tensor(counts) / sum(counts)).to(means[0]).view(-1, 1, 1, 1, 1)
    every = torch.stack(means)
    mean = (share * every).sum(0)
    return mean, (share * (torch.stack(variances) + (every - mean).square())).sum(0)


class _Strip(NamedTuple):
    outer: slice
    """Rows of the image, with those that reach into the inner ones."""
    inner: slice
    """Rows of the outer ones that this strip is for."""


def _strips(height: int, rows: int) -> Iterator[_Strip]:
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        first = max(0, start - HALO)
        yield _Strip(slice(first, min(height, stop + HALO)), slice(start - first, stop - first))
