from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from models.defense import Aligned, Defense
from models.noise import Noise

AXES = {"both": (2, 3), "horizontal": (3,), "vertical": (2,)}


class Flip(Defense):
    """Mirror the image: adversarial patterns depend on their position and rarely survive it.

    Gushchin et al. (arXiv 2404.06957) flip both axes, which is a rotation by 180 degrees and the default here.
    """

    name: Literal["flip"] = "flip"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False

    axis: Literal["both", "horizontal", "vertical"] = Field(
        "both", description="Direction: both axes (as in the paper), left-right, or top-bottom."
    )

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        return images.flip(AXES[self.axis])

    def restore(self, purified: Tensor, size: tuple[int, int], noise: Noise) -> Aligned:
        return super().restore(purified.flip(AXES[self.axis]), size, noise)
