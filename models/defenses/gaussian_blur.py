from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from models.defense import Defense
from models.filters import OddKernel, gaussian_blur
from models.noise import Noise


class GaussianBlur(Defense):
    """Blur with a Gaussian, which removes the high frequencies that adversarial patterns live in.

    Gushchin et al. (arXiv 2404.06957) use a 3x3 kernel with OpenCV's sigma for it, the defaults here. Their OpenCV call
    rounds that kernel to [1/4, 1/2, 1/4], which is sigma 0.849.
    """

    name: Literal["gaussian-blur"] = "gaussian-blur"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    presets: ClassVar = {"kernel": (3, 5, 7, 9, 11)}

    kernel: OddKernel = Field(3, description="Side of the kernel in pixels; odd.")
    sigma: float = Field(
        0,
        ge=0,
        le=16,
        description="Standard deviation in pixels; 0 derives it from the kernel as OpenCV does, "
        "0.3 * ((kernel - 1) / 2 - 1) + 0.8.",
    )

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        return gaussian_blur(images, self.kernel, self.sigma)
