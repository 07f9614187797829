from typing import Literal

from torch import Tensor

from models.diffusion.defense import DiffusionDefense
from models.noise import Noise


class DiffPure(DiffusionDefense):
    """Drown the perturbation in noise, then restore the image with a denoising network.

    DiffPure (Nie et al., ICML 2022, arXiv 2205.07460) with the network's posterior mean instead of a drawn sample: one
    evaluation and closer to the image. `sampler` ancestral, `denoiser` adm-256 and `squeeze` 256 give the original.
    """

    name: Literal["diffpure"] = "diffpure"

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        return self.diffuse(images, noise)
