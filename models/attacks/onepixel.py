from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.perturbation.evolution import evolve

GENES = 5
"""Of a pixel: row, column, red, green, blue, each from 0 to 1."""


class Onepixel(Attack):
    """Black-box: change a few pixels, found by differential evolution, to any color.

    Su et al. (2019, arXiv 1710.08864), with the parameters of Guardians of Image Quality (arXiv 2408.01541), which
    leaves the search to SciPy; ours takes the same steps. Through a random defense candidates are seen through the same
    draws as those that they are to replace, which costs as many queries more.
    """

    name: Literal["onepixel"] = "onepixel"
    white_box: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv 1710.08864"
    presets: ClassVar = {"pixels": (10, 20, 40)}

    pixels: int = Field(3, ge=1, le=256, description="How many pixels may change.")
    queries: int = Field(3300, ge=10, le=1_000_000, description="Largest number of scores per image, per draw.")
    population: int = Field(300, ge=5, le=10_000, description="Candidates per generation.")

    def perturb(self, target: Target) -> Tensor:
        return torch.cat([self._perturb_one(target.of(index)) for index in range(len(target.images))])

    def _perturb_one(self, target: Target) -> Tensor:
        generator = target.noise.generators[0]
        of_each = 2 if target.is_random else 1
        size = min(self.population, self.queries // (1 + of_each))
        first = torch.rand(size, GENES * self.pixels, generator=generator).double().numpy()

        def losses(candidates: NDArray[np.float64]) -> NDArray[np.float32]:
            found = target.losses(len(candidates), lambda some: _paint(target.images, candidates[some]))
            return found.cpu().numpy()

        random = np.random.default_rng(int(torch.randint(0, 2**31, (), generator=generator)))
        generations = (self.queries - size) // (of_each * size)
        return _paint(target.images, evolve(losses, first, generations, random, again=target.is_random)[None])


def _paint(image: Tensor, genes: NDArray[np.float64]) -> Tensor:
    """Return a copy of the image, (1, 3, H, W), for each candidate, (M, 5 * pixels), with its pixels painted."""
    pixels = torch.from_numpy(genes.reshape(len(genes), -1, GENES)).to(image)
    painted = image.repeat(len(genes), 1, 1, 1)
    rows, columns = ((pixels[..., axis] * side).long().clamp(max=side - 1) for axis, side in enumerate(image.shape[2:]))
    candidates = torch.arange(len(genes), device=image.device)
    for number in range(pixels.shape[1]):
        colors = pixels[:, number, 2:].mul(255).round().div(255)
        painted[candidates, :, rows[:, number], columns[:, number]] = colors
    return painted
