from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from models.defense import Defense
from models.noise import Noise


class Upscale(Defense):
    """Shrink the image (bilinear), then enlarge it to its old size, which removes fine patterns.

    Gushchin et al. (arXiv 2404.06957) halve it without anti-aliasing and scale back by three kernels, which they count
    as three defenses: `antialias` false with each `mode` reproduces theirs. Their "nearest" picks the pixel at the
    upper left of the place, which shifts the image by up to half a pixel; here it is the nearest one.
    """

    name: Literal["upscale"] = "upscale"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    presets: ClassVar = {"scale": (0.1, 0.25, 0.5, 0.75, 0.9)}

    scale: float = Field(0.5, ge=0.05, le=1, description="Side length of the small image as a fraction of the old one.")
    mode: Literal["nearest", "bilinear", "bicubic"] = Field("bilinear", description="Interpolation used for enlarging.")
    antialias: bool = Field(True, description="Average all pixels that fall into one; false skips some of them.")

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        size = images.shape[2:]
        small = [max(1, int(side * self.scale + 1e-9)) for side in size]
        images = F.interpolate(images, size=small, mode="bilinear", align_corners=False, antialias=self.antialias)
        if self.mode == "nearest":
            return F.interpolate(images, size=size, mode="nearest-exact")
        return F.interpolate(images, size=size, mode=self.mode, align_corners=False)
