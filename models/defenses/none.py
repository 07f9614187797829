from typing import ClassVar, Literal

from torch import Tensor

from models.defense import Defense
from models.noise import Noise


class NoDefense(Defense):
    """Leave the image as it is: the baseline that every defense is compared with."""

    name: Literal["none"] = "none"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        return images
