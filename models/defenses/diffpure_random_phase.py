from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.diffusion.defense import DiffusionDefense, OneFinding
from models.diffusion.schedule import STEPS
from models.filters import OddKernel, gaussian_blur
from models.noise import Noise

FLOOR = 1e-4
"""Strength below which what was taken away is nothing, in [0, 1]."""


class DiffPureRandomPhase(DiffusionDefense):
    """DiffPure, then texture like the removed one is added with random phases, so that it carries no attack.

    A method of this project. Metrics judge an image without fine texture as smeared, and a denoiser removes texture and
    attack together. An attack depends on how its pattern lies on the image; texture does not. So the removed part comes
    back with its spectrum, its colors and its local strength, but with random phases (Galerne, Gousseau, Morel: Random
    phase textures, IEEE TIP 2011). Where nothing was removed, nothing is added.
    """

    name: Literal["diffpure-random-phase"] = "diffpure-random-phase"

    timestep: Annotated[Annotated[int, Field(ge=1, le=STEPS)] | Literal["auto"], OneFinding] = Field(
        20,
        description="Diffusion timestep: 20 adds noise of 9.7/255; auto chooses one per image.",
        examples=[1, 5, 150, "auto"],
    )
    margin: float = Field(
        0.05,
        ge=0,
        le=0.1,
        description="Strength (RMS) of a perturbation to remove together with the added noise; 0.05 is 13/255.",
    )
    strength: float = Field(0.5, ge=0, le=1, description="Strength of the added texture, relative to what was removed.")
    window: OddKernel = Field(
        15, description="Side in pixels of the window in which the removed strength is measured; odd."
    )

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        purified = self.diffuse(images, noise)
        local = self._local_strength(images, purified)
        for place in range(len(images)):  # each alone, so that an image comes out the same bit for bit in any batch
            this = slice(place, place + 1)
            turns = _random_turns(noise.of(place).normal_like(images[this, :1]))
            for channel in range(images.shape[1]):  # in place and one by one, so that large images fit into memory
                image, plane = (part[this, channel : channel + 1] for part in (images, purified))
                spectrum = torch.fft.rfft2((image - plane) / local[this])
                texture = torch.fft.irfft2(spectrum.mul_(turns), s=images.shape[2:])
                plane.add_(texture.mul(local[this]), alpha=self.strength)
        return purified

    def _local_strength(self, images: Tensor, purified: Tensor) -> Tensor:
        """Return how strong that which was taken away is around every pixel (RMS of the channels), (N, 1, H, W)."""
        power = (images - purified).square().mean(1, keepdim=True)
        return (gaussian_blur(power, self.window) + FLOOR**2).sqrt()


def _random_turns(field: Tensor) -> Tensor:
    """Return the phases of a real random field, one for all channels, as unit complex numbers; 0 for the mean.

    The mean has no phase but a sign, and a random one would make images lighter or darker.
    """
    turns: Tensor = torch.sgn(torch.fft.rfft2(field))
    turns[..., 0, 0] = 0
    return turns
