from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from models.defense import Defense
from models.jpeg_codec import EXACT, POLYNOMIAL, SMOOTH, Subsampling, recode
from models.noise import Noise


class DiffJpeg(Defense):
    """Compress with a JPEG codec written in torch: the result of the real codec, with a gradient that follows it.

    With `rounding` "straight-through" (Guardians of Image Quality, arXiv 2408.01541) the image is the real codec's and
    the gradient is that of the codec without its rounding. With "polynomial" (Shin and Song, 2017) rounding itself
    becomes differentiable, and the image differs a little from the real codec's.
    """

    name: Literal["diffjpeg"] = "diffjpeg"
    differentiable: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    presets: ClassVar = {"quality": (10, 30, 50, 70, 90)}

    quality: int = Field(50, ge=1, le=100, description="JPEG quality, from 1 (worst) to 100.")
    subsampling: Subsampling = Field("4:2:0", description="Color resolution: 4:2:0 is half, as usual; 4:4:4 is full.")
    rounding: Literal["straight-through", "polynomial"] = Field(
        "straight-through",
        description="How gradients pass the rounding: straight-through ignores it, polynomial uses a cubic.",
    )

    @property
    def is_differentiable(self) -> bool:
        return self.rounding == "polynomial"

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        rounding = POLYNOMIAL if self.rounding == "polynomial" else EXACT
        return recode(images, self.quality, self.subsampling, rounding)

    def surrogate(self, images: Tensor) -> Tensor:
        return recode(images, self.quality, self.subsampling, SMOOTH)
