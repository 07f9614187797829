"""What a denoiser IS: the mean of all clean images that a noisy one may come from, at any noise level."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from models.availability import AVAILABLE, Availability
from models.defense import Cost
from models.diffusion.schedule import STEPS, alpha_bar


class Denoiser(ABC):
    """A network behind the one interface that samplers use. Light until its first image: weights are loaded then.

    To add one, put a file into `models/diffusion/denoisers/` with one subclass whose `name` equals the file's name.
    Write `mean`; a network that was trained to predict epsilon overrides `epsilon` too.
    """

    name: ClassVar[str]
    license: ClassVar[str]
    """License of its weights."""
    max_timestep: ClassVar[int] = STEPS
    """Largest timestep whose noise it was trained for."""
    cost: ClassVar[Cost] = Cost.DIFFUSION
    """What one evaluation costs: NETWORK for a small one."""
    multiple: int = 1
    """Height and width must be multiples of this; callers pad."""
    halo: int | None = None
    """How many pixels around it a pixel's result depends on; None: on the whole image, so that tiles are blended."""
    tile: int = 256
    """Side in pixels of the largest square that is computed at once; a multiple of `multiple`."""

    @abstractmethod
    def mean(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return E[clean | noisy], (N, 3, H, W), for images in [0, 1] with added Gaussian noise of `sigma` (N,).

        `noisy` is float32 and may leave [0, 1]; H and W are multiples of `multiple`. The result is float32, not
        clamped, on the device of `noisy`. Gradients flow to `noisy`.
        """

    def epsilon(self, x: Tensor, timestep: int) -> Tensor:
        """Return the noise predicted in `x`, the image in [-1, 1] diffused for `timestep` steps, (N, 3 or 6, H, W).

        Six channels: the last three are the learned variance (Nichol, Dhariwal 2021). Default: from `mean`.
        """
        kept = alpha_bar(timestep)
        scale, spread = math.sqrt(kept), math.sqrt(1 - kept)
        sigma = torch.full((len(x),), spread / scale / 2, device=x.device)
        mean = self.mean((x / scale + 1) / 2, sigma)
        return (x - scale * (2 * mean - 1)) / spread

    def availability(self) -> Availability:
        """Return whether its weights are here, without loading them. Default: they are."""
        return AVAILABLE
