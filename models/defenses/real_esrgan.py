from typing import ClassVar, Literal

from models.restoration.defense import RestorationDefense
from models.restoration.networks import GENERAL


class RealESRGAN(RestorationDefense):
    """Enlarge fourfold with Real-ESRGAN, which removes noise and artifacts, then shrink back.

    Wang et al. (ICCV Workshops 2021, arXiv 2107.10833), as in Gushchin et al. (arXiv 2404.06957): the weights
    realesr-general-x4v3 and its partner wdn blended for a denoise_strength of 0.2, `outscale` 1. They use no tiles;
    these tiles give what the whole image gives. `outscale` 4 is that of Guardians of Image Quality.
    """

    name: Literal["real-esrgan"] = "real-esrgan"
    weights: ClassVar[tuple[str, ...]] = (GENERAL.name,)
    license: ClassVar[str] = "Apache-2.0 (code), BSD-3-Clause (weights)"

    @property
    def weights_name(self) -> str:
        return GENERAL.name
