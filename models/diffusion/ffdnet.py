"""FFDNet (Zhang, Zuo, Zhang, IEEE TIP 2018, arXiv 1710.04026), of any width."""

from typing import ClassVar, cast

from torch import Tensor, nn

from models.diffusion.network import Network, cells
from models.fused import activated


class FFDNet(Network):
    """A chain of 3x3 convolutions with ReLU at half resolution, told the noise level by a constant map."""

    multiple: ClassVar[int] = 2

    def __init__(self, width: int = 96, depth: int = 12) -> None:
        """Make a network of `depth` convolutions with `width` channels between them; the published one is 96, 12."""
        super().__init__()
        self.width, self.depth = width, depth
        channels = [13, *[width] * (depth - 1), 12]
        self.convs = nn.ModuleList(nn.Conv2d(channels[i], channels[i + 1], 3, padding=1) for i in range(depth))

    @property
    def last(self) -> nn.Conv2d:  # type: ignore[override]
        return cast("nn.Conv2d", self.convs[-1])

    @property
    def halo(self) -> int:
        return 2 * self.depth

    @property
    def settings(self) -> dict[str, int]:
        return {"depth": self.depth, "width": self.width}

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean images in `noisy`, (N, 3, H, W) with even H and W; `sigma` (N,) is their noise in [0, 1]."""
        hidden = cells(noisy, sigma)
        for conv in self.convs[:-1]:
            hidden = activated(conv, hidden)
        return self.finish(hidden)
