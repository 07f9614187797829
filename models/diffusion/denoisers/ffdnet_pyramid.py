from typing import ClassVar

from models.diffusion.network import Network
from models.diffusion.pyramid import FFDNetPyramid
from models.diffusion.shipped_denoiser import ShippedDenoiser


class FFDNetPyramidColor(ShippedDenoiser):
    """FFDNet narrowed to 64 channels, with a branch that sees further; by `python -m training.denoiser`."""

    name: ClassVar[str] = "ffdnet-pyramid"
    license: ClassVar[str] = "Apache-2.0, from MIT (KAIR)"
    network: ClassVar[type[Network]] = FFDNetPyramid
    multiple = FFDNetPyramid.multiple
    halo = 80
    tile = 960
