"""Ours: a small network that reads bent color curves from the histogram and bends them back."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.fcn.network import PIXELS_AT_ONCE
from models.tensors import clamp_to_image

LEVELS = 256
TYPICAL_COUNT = math.log(2**14)
"""Of pixels, as a logarithm: the middle of what the network is told about the size of the image."""


class CurveNet(nn.Module):
    """A fully convolutional network over the 256 levels of the histogram; 10,227 parameters, fewer than the paper's.

    A curve that is steep somewhere leaves gaps in the histogram, a flat one piles up spikes: that betrays it, wherever
    in the image its colors are. Four 1-D convolutions read the logarithms of the three channels' histograms and the
    number of pixels, and tell the slope of each channel's way back between every two levels. The curves grow, begin at
    0, end at 1 and are the same for all pixels; where the network says nothing they are straight: nothing changes.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(4, width, 9, padding=4)
        self.conv2 = nn.Conv1d(width, width, 9, padding=8, dilation=2)
        self.conv3 = nn.Conv1d(width, width, 7, padding=12, dilation=4)
        self.conv4 = nn.Conv1d(width, 3, 1)
        nn.init.zeros_(self.conv4.weight)
        nn.init.zeros_(self.conv4.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Return the images with their curves bent back, RGB in [0, 1], (N, 3, H, W), as they came."""
        curves = self.curves(histograms(images), images.shape[2] * images.shape[3])
        return torch.cat([_bent(part, curves) for part in _parts(images)], dim=2)

    def curves(self, shares: Tensor, pixels: int) -> Tensor:
        """Return what each of 256 levels becomes, (N, 3, 256), from histograms (N, 3, 256) of as many pixels."""
        size = torch.full_like(shares[:, :1], (math.log(pixels) - TYPICAL_COUNT) / 4)
        hidden = torch.cat([torch.log(LEVELS * shares + 0.02), size], dim=1)
        for conv in (self.conv1, self.conv2, self.conv3):
            hidden = F.leaky_relu(conv(hidden), 0.2)
        climbed = torch.exp(self.conv4(hidden)[:, :, 1:]).cumsum(2)
        return F.pad(climbed / climbed[:, :, -1:], (1, 0))


def histograms(images: Tensor) -> Tensor:
    """Return the share of pixels at each of 256 levels, (N, 3, 256), of RGB in [0, 1], (N, 3, H, W).

    A value between two levels counts for both in proportion, so that the shares have a gradient.
    """
    total = images.new_zeros(len(images), 3, LEVELS)
    for part in _parts(images):
        below, above = _between(part)
        counted = torch.zeros_like(total).scatter_add(2, below, 1 - above).scatter_add(2, below + 1, above)
        total = total + counted / (images.shape[2] * images.shape[3])
    return total


def _bent(images: Tensor, curves: Tensor) -> Tensor:
    below, above = _between(images)
    return torch.lerp(curves.gather(2, below), curves.gather(2, below + 1), above).view(images.shape)


def _between(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return for every value the level below it, at most 254, and how far it is on the way to the next."""
    values = clamp_to_image(images).flatten(2) * (LEVELS - 1)
    below = values.detach().floor().clamp(max=LEVELS - 2)
    return below.long(), values - below


def _parts(images: Tensor) -> Iterator[Tensor]:
    """Yield the images in strips of rows, of bounded memory."""
    return iter(torch.split(images, max(1, PIXELS_AT_ONCE // (len(images) * images.shape[3])), dim=2))
