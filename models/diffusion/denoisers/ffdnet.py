from typing import ClassVar

from models.diffusion.ffdnet import FFDNet
from models.diffusion.network import Network
from models.diffusion.shipped_denoiser import ShippedDenoiser


class FFDNetColor(ShippedDenoiser):
    """FFDNet for color images with its published weights (Zhang, Zuo, Zhang, IEEE TIP 2018, arXiv 1710.04026)."""

    name: ClassVar[str] = "ffdnet"
    license: ClassVar[str] = "MIT (KAIR)"
    network: ClassVar[type[Network]] = FFDNet
    multiple = FFDNet.multiple
    halo = 24
    tile = 640
