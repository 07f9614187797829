from typing import Literal

from pydantic import Field
from torch import Tensor

from models.diffusion.defense import DiffusionDefense
from models.filters import OddKernel, gaussian_blur
from models.noise import Noise
from models.tensors import clamp_to_image


class DiffPureUnsharp(DiffusionDefense):
    """DiffPure, then unsharp masking, which sharpens what the denoiser smoothed.

    The first of two combinations that Gushchin et al. (arXiv 2404.06957) propose. Their kernel, sigma and amount are
    not public; the defaults are those of unsharp in Guardians of Image Quality (arXiv 2408.01541).
    """

    name: Literal["diffpure-unsharp"] = "diffpure-unsharp"

    kernel: OddKernel = Field(5, description="Side of the blur's kernel in pixels; odd.")
    sigma: float = Field(
        1, ge=0, le=16, description="The blur's standard deviation in pixels; 0 derives it from the kernel."
    )
    amount: float = Field(1, ge=0, le=10, description="How many times the detail that a blur removes is added.")

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        purified = clamp_to_image(self.diffuse(images, noise))
        return purified + self.amount * (purified - gaussian_blur(purified, self.kernel, self.sigma))
