from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from models.defense import Defense
from models.filters import OddKernel, gaussian_blur
from models.noise import Noise


class Unsharp(Defense):
    """Sharpen by adding the detail that a blur removes, which restores what a smoothing defense lost.

    The formula and the defaults are those of Guardians of Image Quality (arXiv 2408.01541).
    """

    name: Literal["unsharp"] = "unsharp"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    presets: ClassVar = {"kernel": (3, 5, 7, 9, 11)}

    kernel: OddKernel = Field(5, description="Side of the blur's kernel in pixels; odd.")
    sigma: float = Field(
        1, ge=0, le=16, description="The blur's standard deviation in pixels; 0 derives it from the kernel."
    )
    amount: float = Field(1, ge=0, le=10, description="How many times the detail that a blur removes is added.")

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        return images + self.amount * (images - gaussian_blur(images, self.kernel, self.sigma))
