from typing import ClassVar, Literal

from torch import Tensor

from models.perturbation.adam import AdamAttack
from models.ssim import ssim


class ZhangSsim(AdamAttack):
    """Change the score while structural similarity (SSIM) to the original stays high.

    Zhang et al. (NeurIPS 2022, arXiv 2210.00933), whose loss is that of the score plus a distance; here 1 - SSIM. Their
    code for it is not public: the step is that of `zhang-dists`, as Gushchin et al. (arXiv 2404.06957) list it.
    """

    name: Literal["zhang-ssim"] = "zhang-ssim"
    source: ClassVar[str] = "arXiv 2210.00933"
    presets: ClassVar = {"learning_rate": (7.7e-4, 1.55e-3, 3.1e-3)}

    def penalty(self, images: Tensor, originals: Tensor) -> Tensor:
        return 1 - ssim(images, originals)
