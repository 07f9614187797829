from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.diffusion.defense import DiffusionDefense
from models.diffusion.schedule import STEPS
from models.filters import OddKernel, gaussian_blur
from models.noise import Noise

FLOOR = 1e-4
"""Strength below which what was taken away is nothing, in [0, 1]."""


class DiffPureRandomPhase(DiffusionDefense):
    """DiffPure, then texture like that which it took away, but with random phases, so that no attack is in it.

    Ours. Metrics take a picture without fine texture for smeared, and what a denoiser takes away is texture and attack
    together. An attack lives in how its pattern lies on the picture, texture does not: here the removed part comes
    back with its spectrum and its colors, but with random phases (Galerne, Gousseau, Morel: Random phase textures,
    IEEE TIP 2011). At every place it is as strong as what the red, green and blue of the removed part have in common:
    that is most of a photograph's texture and little of an attack. Where nothing was taken away, nothing is put on.
    """

    name: Literal["diffpure-random-phase"] = "diffpure-random-phase"

    timestep: Annotated[int, Field(ge=1, le=STEPS)] | Literal["auto"] = Field(
        20,
        description="How far to diffuse: 20 adds noise of 9.7/255; auto chooses per image.",
        examples=[1, 5, 150, "auto"],
    )
    margin: float = Field(
        0.06,
        ge=0,
        le=0.1,
        description="Strength (RMS) of a perturbation that is denoised as well as the added noise: 0.06 is 15/255.",
    )
    strength: float = Field(0.8, ge=0, le=1, description="Strength of the texture, of that which was taken away.")
    window: OddKernel = Field(15, description="Side in pixels of the window in which that strength is measured; odd.")

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        purified = self.diffuse(images, noise)
        strength, shared = self._strengths(images - purified)
        turns = _random_turns(noise.normal_like(images[:, :1]))
        planes = []
        for image, plane in zip(torch.split(images, 1, 1), torch.split(purified, 1, 1), strict=True):
            texture = torch.fft.irfft2(torch.fft.rfft2((image - plane) / strength).mul(turns), s=images.shape[2:])
            planes.append(texture.mul(self.strength * shared).add(plane))
        return torch.cat(planes, 1)

    def _strengths(self, removed: Tensor) -> tuple[Tensor, Tensor]:
        """Return how strong `removed` is around every pixel, and that of it which its channels share, (N, 1, H, W)."""
        power = removed.square().mean(1, keepdim=True)
        common = removed.sum(1, keepdim=True).square().div(6) - power.div(2)  # mean of the products of two channels
        strength, shared = (gaussian_blur(one, self.window).clamp(min=FLOOR**2).sqrt() for one in (power, common))
        return strength, shared


def _random_turns(field: Tensor) -> Tensor:
    """Return the phases of a real random field, one for all channels, as unit complex numbers."""
    spectrum = torch.fft.rfft2(field)
    turns: Tensor = spectrum / spectrum.abs().clamp(min=FLOOR)
    return turns
