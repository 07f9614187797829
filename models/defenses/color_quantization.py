from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from models.defense import Defense
from models.noise import Noise


class ColorQuantization(Defense):
    """Round every channel to a few levels: small perturbations fall back to the level that they came from.

    The formula and the default are those of Guardians of Image Quality (arXiv 2408.01541).
    """

    name: Literal["color-quantization"] = "color-quantization"
    differentiable: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    presets: ClassVar = {"levels": (2, 5, 16, 20, 25)}

    levels: int = Field(16, ge=2, le=256, description="How many values a channel may take, including black and white.")

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        return (images * (self.levels - 1)).round() / (self.levels - 1)
