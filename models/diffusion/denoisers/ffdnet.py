from typing import ClassVar

from models.diffusion.chain import ChainDenoiser


class FFDNetColor(ChainDenoiser):
    """FFDNet for color images with its published weights (Zhang, Zuo, Zhang, IEEE TIP 2018, arXiv 1710.04026)."""

    name: ClassVar[str] = "ffdnet"
    license: ClassVar[str] = "MIT (KAIR)"
