"""Denoisers that ship: a chain of convolutions with the weights in this package."""

import functools
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.defense import Cost
from models.diffusion.denoiser import Denoiser
from models.diffusion.ffdnet import FFDNet
from models.diffusion.ffdnet_bfloat16 import FFDNetBFloat16
from models.diffusion.precision import dtype_for

SHIPPED = Path(__file__).parent / "shipped"


LEAST_SIGMA_IN_BFLOAT16 = 12 / 255
"""Below this noise bfloat16 would cost more than 0.1 dB, because the image itself goes through the chain."""


class ChainDenoiser(Denoiser):
    """An FFDNet of any width, from the folder `models/diffusion/shipped/NAME`.

    In bfloat16 only on a CPU and where the noise is strong enough; on CUDA what it would cost was never measured.
    """

    max_timestep: ClassVar[int] = 168  # sigma 75.0/255; FFDNet was trained up to 75
    cost: ClassVar[Cost] = Cost.NETWORK
    multiple = 2
    halo = 24
    tile = 640

    def mean(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma.to(noisy).expand(len(noisy))
        exact = sigma < LEAST_SIGMA_IN_BFLOAT16 if noisy.device.type == "cpu" else torch.ones_like(sigma).bool()
        if bool(exact.all()) or not bool(exact.any()):
            return self._evaluate(noisy, sigma, exact=bool(exact[0]))
        # An image's precision may depend on its own noise only: alone and in a batch it must come out the same.
        images = zip(torch.split(noisy, 1), torch.split(sigma, 1), exact.tolist(), strict=True)
        return torch.cat([self._evaluate(image, level, exact=precise) for image, level, precise in images])

    def _evaluate(self, noisy: Tensor, sigma: Tensor, *, exact: bool) -> Tensor:
        network = _network(self.name, noisy.device, torch.float32 if exact else dtype_for(noisy.device))
        restored: Tensor = network(noisy.contiguous(memory_format=torch.channels_last), sigma)
        return restored.contiguous()


@functools.cache
def _network(name: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
    network = FFDNet.read(SHIPPED / name)
    network.requires_grad_(False).eval()
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network if dtype is torch.float32 else FFDNetBFloat16(network)
