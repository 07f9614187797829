"""Denoisers that ship: a chain of convolutions with the weights in this package."""

import functools
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from models.defense import Cost
from models.diffusion.denoiser import Denoiser
from models.diffusion.ffdnet import FFDNet
from models.diffusion.precision import dtype_for

SHIPPED = Path(__file__).parent / "shipped"


class ChainDenoiser(Denoiser):
    """An FFDNet of any width, from the folder `models/diffusion/shipped/NAME`."""

    max_timestep: ClassVar[int] = 166  # sigma 74.8/255; FFDNet was trained up to 75
    cost: ClassVar[Cost] = Cost.NETWORK
    multiple = 2
    halo = 24
    tile = 640

    def mean(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        network = _network(self.name, noisy.device, dtype := dtype_for(noisy.device))
        image = noisy.to(dtype).contiguous(memory_format=torch.channels_last)
        restored: Tensor = network(image, sigma.to(noisy))
        return restored.float().contiguous()


@functools.cache
def _network(name: str, device: torch.device, dtype: torch.dtype) -> FFDNet:
    network = FFDNet.read(SHIPPED / name)
    network.requires_grad_(False).eval()
    return network.to(device=device, dtype=dtype).to(memory_format=torch.channels_last)
