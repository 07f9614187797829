import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.progress import tracked

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After how many of 10,000 queries the squares' area is halved."""


class Square(Attack):
    """Black-box: change random squares by the whole budget, and keep what helps.

    Square attack, Andriushchenko et al. (ECCV 2020, arXiv 1912.00049), with the parameters of Guardians of Image
    Quality (arXiv 2408.01541). It begins with random stripes, but not where they make things worse. Through a random
    defense each candidate is compared with the best image through the same draws, which costs a query more.
    """

    name: Literal["square"] = "square"
    white_box: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv 1912.00049"
    presets: ClassVar = {"epsilon": (2, 4, 8)}

    epsilon: float = Field(25.5, ge=1, le=64, description="Largest change of a value, in 8-bit levels.")
    queries: int = Field(10_000, ge=2, le=1_000_000, description="Largest number of scores per image, per draw.")
    area: float = Field(0.05, ge=0.0001, le=1, description="Share of the image that the first squares cover.")

    def budgets(self, images: Tensor) -> Tensor:
        return torch.full((len(images),), self.epsilon)

    def perturb(self, target: Target) -> Tensor:
        if target.budget is None:
            raise ValueError(f"{self.name} needs a budget")
        count, _, height, width = target.images.shape
        candidates = (target.images + self._signs(target, (3, 1, width)) * target.budget).clamp_(0, 1)
        images, lowest = target.images, torch.zeros(count)
        if not target.is_random:
            lowest = target.loss(images)
        for query in tracked(range(2, self.queries + 1, 2 if target.is_random else 1)):
            images, lowest = target.better(images, lowest, candidates)
            candidates = images.clone()
            side = self._side(query, height, width)
            rows = target.noise.integers(0, height - side)
            columns = target.noise.integers(0, width - side)
            changes = self._signs(target, (3, 1, 1)) * target.budget
            for number, (row, column) in enumerate(zip(rows, columns, strict=True)):
                place = (number, slice(None), slice(row, row + side), slice(column, column + side))
                candidates[place] = (target.images[place] + changes[number]).clamp_(0, 1)
        return images

    def _side(self, query: int, height: int, width: int) -> int:
        done = sum(query * 10_000 / self.queries > halving for halving in HALVINGS)
        side = round(math.sqrt(self.area / 2**done * height * width))
        return min(max(side, 1), height, width)

    def _signs(self, target: Target, shape: tuple[int, ...]) -> Tensor:
        """Draw -1 or 1 for every value of each image's `shape`."""
        signs = [
            2 * torch.randint(0, 2, shape, generator=generator).float() - 1 for generator in target.noise.generators
        ]
        return torch.stack(signs).to(target.images)
