import math
from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from models.defense import Defense
from models.noise import Noise
from models.tensors import MIN_SIDE


class Resize(Defense):
    """Shrink the image (bilinear) and score the small one: fine patterns do not survive the averaging.

    Gushchin et al. (arXiv 2404.06957) halve it without anti-aliasing: `antialias` false reproduces theirs. Sides are
    rounded down, as in their code, but never below 16 pixels.
    """

    name: Literal["resize"] = "resize"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    presets: ClassVar = {"scale": (0.1, 0.25, 0.5, 0.75, 0.9)}

    scale: float = Field(0.5, ge=0.05, le=1, description="New side length as a fraction of the old one.")
    antialias: bool = Field(True, description="Average all pixels that fall into one; false skips some of them.")

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        # 1e-9: a product such as 100 * 0.29 = 28.999999999999996 means 29.
        height, width = (max(MIN_SIDE, math.floor(side * self.scale + 1e-9)) for side in size)
        return height, width

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        size = self.output_size((images.shape[2], images.shape[3]))
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=self.antialias)
