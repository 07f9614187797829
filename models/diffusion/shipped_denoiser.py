"""Denoisers that ship: a network with its weights in this package."""

import functools
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from models.defense import Cost
from models.diffusion.bfloat16 import in_bfloat16
from models.diffusion.denoiser import Denoiser
from models.diffusion.network import CONFIG, WEIGHTS, Network
from models.diffusion.precision import dtype_for
from models.shipped import verified
from models.tensors import lasting

SHIPPED = Path(__file__).parent / "shipped"


LEAST_SIGMA_IN_BFLOAT16 = 12 / 255
"""Below this noise bfloat16 would cost more than 0.1 dB, because the image itself goes through the network."""


class ShippedDenoiser(Denoiser):
    """A network with the weights in the folder `models/diffusion/shipped/NAME`.

    In bfloat16 only on a CPU and where the noise is strong enough; on CUDA what it would cost was never measured.
    """

    network: ClassVar[type[Network]]
    max_timestep: ClassVar[int] = 168  # sigma 75.0/255; what they were trained up to
    cost: ClassVar[Cost] = Cost.NETWORK

    def mean(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma.to(noisy).expand(len(noisy))
        exact = sigma < LEAST_SIGMA_IN_BFLOAT16 if noisy.device.type == "cpu" else torch.ones_like(sigma).bool()
        if bool(exact.all()) or not bool(exact.any()):
            return self._evaluate(noisy, sigma, exact=bool(exact[0]))
        # An image's precision may depend on its own noise only: alone and in a batch it must come out the same.
        images = zip(torch.split(noisy, 1), torch.split(sigma, 1), exact.tolist(), strict=True)
        return torch.cat([self._evaluate(image, level, exact=precise) for image, level, precise in images])

    def _evaluate(self, noisy: Tensor, sigma: Tensor, *, exact: bool) -> Tensor:
        dtype = torch.float32 if exact else dtype_for(noisy.device, measured=True)
        network = _read(self.network, self.name, noisy.device, dtype)
        restored: Tensor = network(noisy, sigma)
        return restored.contiguous()


@functools.cache
def _read(kind: type[Network], name: str, device: torch.device, dtype: torch.dtype) -> Network:
    for file in (CONFIG, WEIGHTS):
        verified(SHIPPED / name / file)
    with lasting():
        network = kind.read(SHIPPED / name).requires_grad_(requires_grad=False).eval()
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network if dtype is torch.float32 else in_bfloat16(network)
