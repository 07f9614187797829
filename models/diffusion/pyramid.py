"""FFDNet with a look at the wider surroundings: a short branch at a quarter and an eighth of the resolution."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.diffusion.network import Network, cells
from models.fused import activated

CELLS = 13
"""Channels of `cells`."""


class FFDNetPyramid(Network):
    """FFDNet's chain; a branch of residual blocks, which starts and ends within it; and a way past all of it.

    Most of what a chain costs goes into looking a few pixels further with each layer. At a quarter and an eighth of the
    resolution the same convolutions look four times as far for a sixteenth of the work. The last layer sees the noisy
    pixels too, so that where there is little noise they need not be carried through the chain.
    """

    multiple: ClassVar[int] = 8

    def __init__(self, width: int = 64, depth: int = 12, wide: int = 96, fork: int = 5) -> None:
        """Make a chain of `depth` layers, `width` channels; the branch with `wide` leaves and joins after `fork`."""
        super().__init__()
        self.width, self.depth, self.wide, self.fork = width, depth, wide, fork
        channels = [CELLS, *[width] * (depth - 1)]
        self.chain = nn.ModuleList(nn.Conv2d(channels[i], channels[i + 1], 3, padding=1) for i in range(depth - 1))
        self.last = nn.Conv2d(width + CELLS, 12, 3, padding=1)
        self.to_quarter = nn.Conv2d(width, wide, 2, stride=2)
        self.before = Residual(wide)
        self.to_eighth = nn.Conv2d(wide, wide, 2, stride=2)
        self.eighth = nn.Sequential(Residual(wide), Residual(wide))
        self.from_eighth = nn.Conv2d(wide, 4 * wide, 1)
        self.after = Residual(wide)
        self.from_quarter = nn.Conv2d(wide, 4 * width, 1)

    @property
    def halo(self) -> int:
        convolutions = {2: self.depth, 4: 4, 8: 4}  # 3x3 ones, by the pixels that one of their own is wide
        return sum(size * count for size, count in convolutions.items()) + self.multiple

    @property
    def settings(self) -> dict[str, int]:
        return {"depth": self.depth, "fork": self.fork, "wide": self.wide, "width": self.width}

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean images in `noisy`, (N, 3, H, W), H and W multiples of 8; `sigma` (N,): noise in [0, 1]."""
        hidden = pixels = cells(noisy, sigma)
        for conv in self.chain[: self.fork]:
            hidden = activated(conv, hidden)
        hidden = hidden + self._surroundings(hidden)
        for conv in self.chain[self.fork :]:
            hidden = activated(conv, hidden)
        return self.finish(torch.cat([hidden.to(pixels), pixels], dim=1))

    def _surroundings(self, hidden: Tensor) -> Tensor:
        quarter = self.before(self.to_quarter(hidden))
        eighth = self.eighth(self.to_eighth(quarter))
        quarter = self.after(quarter + F.pixel_shuffle(self.from_eighth(eighth), 2))
        return F.pixel_shuffle(self.from_quarter(quarter), 2)


class Residual(nn.Module):
    """Two 3x3 convolutions around a ReLU, added to what went in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, hidden: Tensor) -> Tensor:
        change: Tensor = self.second(activated(self.first, hidden))
        return hidden + change
