from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from models.defense import Defense
from models.filters import OddKernel, median_blur
from models.noise import Noise


class MedianBlur(Defense):
    """Replace every value with the median around it: isolated extremes vanish, edges stay.

    Gushchin et al. (arXiv 2404.06957) use 3x3, the default here. Their OpenCV call repeats the edge at the border;
    here, as in Guardians of Image Quality (arXiv 2408.01541), the image is reflected there.
    """

    name: Literal["median-blur"] = "median-blur"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    presets: ClassVar = {"kernel": (3, 5, 7, 9, 11)}

    kernel: OddKernel = Field(3, description="Side of the window in pixels; odd.")

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        return median_blur(images, self.kernel)
