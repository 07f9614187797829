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
    """Ask for scores only: change random squares to the limit of the budget and keep what helps.

    Square attack, Andriushchenko et al. (ECCV 2020, arXiv 1912.00049), with the parameters of Guardians of Image
    Quality (arXiv 2408.01541). It begins with random stripes, but not where they make things worse.
    """

    name: Literal["square"] = "square"
    white_box: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv 1912.00049"
    presets: ClassVar = {"epsilon": (2, 4, 8)}

    epsilon: float = Field(25.5, ge=1, le=64, description="Largest change of a value, in 8-bit levels.")
    queries: int = Field(10_000, ge=2, le=1_000_000, description="How often each image may be scored, per draw.")
    area: float = Field(0.05, ge=0.0001, le=1, description="Share of the image that the first squares cover.")

    def budgets(self, images: Tensor) -> Tensor:
        return torch.full((len(images),), self.epsilon)

    def perturb(self, target: Target) -> Tensor:
        if target.budget is None:
            raise ValueError(f"{self.name} needs a budget")
        count, _, height, width = target.images.shape
        stripes = self._signs(target, (3, 1, width))
        images = (target.images + stripes * target.budget).clamp_(0, 1)
        clean, striped = target.loss(target.images), target.loss(images)
        images = torch.where((striped < clean).view(-1, 1, 1, 1), images, target.images)
        lowest = torch.minimum(clean, striped)
        for query in tracked(range(2, self.queries)):
            side = self._side(query, height, width)
            rows = target.noise.integers(0, height - side)
            columns = target.noise.integers(0, width - side)
            places = [
                (number, slice(None), slice(row, row + side), slice(column, column + side))
                for number, row, column in zip(range(count), rows, columns, strict=True)
            ]
            before = [images[place].clone() for place in places]
            changes = self._signs(target, (3, 1, 1)) * target.budget
            for place, change in zip(places, changes, strict=True):
                images[place] = (target.images[place] + change).clamp_(0, 1)
            loss = target.loss(images)
            for place, old, is_worse in zip(places, before, (loss >= lowest).tolist(), strict=True):
                if is_worse:
                    images[place] = old
            lowest = torch.minimum(lowest, loss)
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
