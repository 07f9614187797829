from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from models.defense import Defense
from models.noise import Noise


class RandomNoise(Defense):
    """Add Gaussian noise, which drowns a perturbation that is finely tuned to this one image.

    The default is that of Guardians of Image Quality (arXiv 2408.01541).
    """

    name: Literal["random-noise"] = "random-noise"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    presets: ClassVar = {"sigma": (0.01, 0.025, 0.05, 0.075, 0.1)}

    sigma: float = Field(
        0.01, ge=0, le=0.5, description="Standard deviation of the noise; 1 is the range from black to white."
    )

    @property
    def is_stochastic(self) -> bool:
        return self.sigma > 0

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        return images + self.sigma * noise.normal_like(images)
