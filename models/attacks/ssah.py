from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from models.perturbation.adam import AdamAttack


class Ssah(AdamAttack):
    """Change the fine details and keep the coarse picture, which is what the eye compares.

    Luo et al. (CVPR 2022, arXiv 2203.05151), as Gushchin et al. (arXiv 2404.06957) used it: the penalty is the smooth
    L1 distance between the coarse halves of a Haar wavelet transform.
    """

    name: Literal["ssah"] = "ssah"
    source: ClassVar[str] = "arXiv 2203.05151"
    presets: ClassVar = {"learning_rate": (7.7e-4, 1.55e-3, 3.1e-3)}

    learning_rate: float = Field(
        0.001,
        ge=1e-5,
        le=0.1,
        description="Adam's step size, about the change of a value in one step; 1 is from black to white.",
    )
    weight: float = Field(0.1, ge=0, le=100, description="Weight of the penalty, relative to the loss.")

    def penalty(self, images: Tensor, originals: Tensor) -> Tensor:
        distance = F.smooth_l1_loss(coarse(images), coarse(originals), reduction="none")
        return self.weight * distance.sum(dim=(1, 2, 3))


def coarse(images: Tensor) -> Tensor:
    """Return what is left of images when only the low frequencies of a Haar transform are kept: means of 2x2 pixels.

    An odd side is continued by zeros, so that the means of its last pixels are smaller.
    """
    height, width = images.shape[2:]
    means = F.avg_pool2d(F.pad(images, (0, width % 2, 0, height % 2)), 2)
    return F.interpolate(means, scale_factor=2, mode="nearest")[..., :height, :width]
