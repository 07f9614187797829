import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from models.defense import Aligned, Defense
from models.noise import Noise

PADDING = {"reflect": "reflection", "zeros": "zeros"}


class Rotate(Defense):
    """Rotate the image by a small random angle: adversarial patterns are tuned to the pixel grid.

    The canvas stays. Gushchin et al. (arXiv 2404.06957) draw from [-5, 5] degrees, take the nearest pixel and fill the
    corners with black: `interpolation` "nearest" and `border` "zeros" reproduce theirs.
    """

    name: Literal["rotate"] = "rotate"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    presets: ClassVar = {"limit": (10, 15, 20, 30, 50)}

    limit: float = Field(5, ge=0, le=180, description="Largest angle in degrees, drawn uniformly in both directions.")
    interpolation: Literal["bilinear", "nearest"] = Field(
        "bilinear", description="How values between pixels are computed."
    )
    border: Literal["reflect", "zeros"] = Field(
        "reflect", description="What fills the empty corners: a reflection of the image, or black."
    )

    @property
    def is_stochastic(self) -> bool:
        return self.limit > 0

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        return self._turn(images, self._angles(noise))

    def restore(self, purified: Tensor, size: tuple[int, int], noise: Noise) -> Aligned:
        angles = self._angles(noise)
        back = [-angle for angle in angles]
        reach = source_grid(back, size).abs() <= 1 - 1 / torch.tensor([size[1], size[0]]) + 1e-6
        filled = self._turn(torch.ones_like(purified[:, :1]), angles)  # less than 1 where a border of zeros is in it
        valid = reach.all(dim=-1)[:, None].to(purified.device) & (self._turn(filled, back) > 0.999)
        return Aligned(self._turn(purified, back), valid)

    def _angles(self, noise: Noise) -> list[float]:
        return [float(angle) for angle in noise.uniform(-self.limit, self.limit).tolist()]

    def _turn(self, images: Tensor, angles: Sequence[float]) -> Tensor:
        grid = source_grid(angles, (images.shape[2], images.shape[3])).to(images)
        return F.grid_sample(
            images, grid, mode=self.interpolation, padding_mode=PADDING[self.border], align_corners=False
        )


def source_grid(angles: Sequence[float], size: tuple[int, int]) -> Tensor:
    """Return where each pixel of an image turned counterclockwise by `angles` degrees comes from.

    Float32, (N, H, W, 2): x and y as `grid_sample` counts them, -1 and 1 at the outer edges of the border pixels.
    """
    height, width = size
    y = torch.arange(height)[:, None] - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    turns = [(math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in angles]
    grids = [torch.stack([(c * x - s * y) * (2 / width), (s * x + c * y) * (2 / height)], dim=-1) for c, s in turns]
    return torch.stack(grids)
