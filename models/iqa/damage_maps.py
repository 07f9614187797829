"""Draws, from the features of a trunk, how alike an image is to its original at each place of 8x8 pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.fused import activated
from models.iqa.efficientnet_lite import TAP_CHANNELS

CELL = 8
"""Side of a place, in pixels: that of the third of the trunk's four resolutions."""
MAPS = 4
"""What `training.local_maps` asks for: the similarity of edges at three scales, and of colors."""
WIDTH = 64


class Drawn(NamedTuple):
    """What is known of each place."""

    hidden: Tensor
    """Features (N, WIDTH, H / CELL, W / CELL), from 0."""
    maps: Tensor
    """Similarities (N, MAPS, H / CELL, W / CELL), in deviations from their mean over training images."""


class DamageMaps(nn.Module):
    """Joins every resolution but the first at one of 8 pixels, looks around once, and draws."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.ModuleList(nn.Conv2d(channels, WIDTH, 1) for channels in TAP_CHANNELS[1:])
        self.around = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.output = nn.Conv2d(WIDTH, MAPS, 1)

    def forward(self, taps: Sequence[Tensor]) -> Drawn:
        """Return what the trunk's taps tell of each place; shapes are those of the third of them."""
        places = (taps[2].shape[2], taps[2].shape[3])
        joined = [
            conv(F.adaptive_avg_pool2d(tap, places))
            if tap.shape[-1] >= places[1]
            else F.interpolate(conv(tap), places, mode="bilinear")
            for conv, tap in zip(self.inputs, taps[1:], strict=True)
        ]
        hidden = activated(self.around, torch.relu(torch.stack(joined).sum(0)), "relu")
        maps: Tensor = self.output(hidden)
        return Drawn(hidden, maps)
