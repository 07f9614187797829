from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from models.diffusion.defense import DiffusionDefense
from models.diffusion.schedule import STEPS
from models.noise import Noise


class DiffPureGrain(DiffusionDefense):
    """DiffPure told of more than its own noise, then fresh grain: metrics take a picture without any for smeared.

    Ours. The denoiser is told of more than the noise that was added (`margin`), which takes away more of an attack than
    more noise would, for less of the picture. What a clean picture loses by that is not detail but fine grain, and
    metrics miss it; grain put on again holds nothing of the attack. Video codecs do the same for viewers.
    """

    name: Literal["diffpure-grain"] = "diffpure-grain"

    timestep: Annotated[int, Field(ge=1, le=STEPS)] | Literal["auto"] = Field(
        20,
        description="How far to diffuse: 20 adds noise of 9.7/255; auto chooses per image.",
        examples=[1, 5, 150, "auto"],
    )
    margin: float = Field(
        0.07,
        ge=0,
        le=0.1,
        description="Strength (RMS) of a perturbation that is denoised as well as the added noise: 0.07 is 18/255.",
    )
    grain: float = Field(0.008, ge=0, le=0.1, description="Deviation of the grain in [0, 1]: 0.008 is 2/255.")

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        purified = self.diffuse(images, noise)
        return noise.normal_like(images).mul_(self.grain).add_(purified)
