from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from models import sequences
from models.availability import Availability
from models.defense import Aligned, Cost, Defense
from models.noise import Noise

if TYPE_CHECKING:
    from models.defense import Defense as AnyDefense

MADE_OF_DEFENSES = ("chain", "barrage")
DEFAULT_AMONG: Any = (
    {"name": "diffjpeg"},
    {"name": "flip"},
    {"name": "upscale", "mode": "bicubic"},
    {"name": "rotate"},
    {"name": "random-noise", "sigma": 0.02},
)
_PROBES = ((16, 16), (61, 97), (4096, 4097))
"""Sizes at which those that it draws from must not change the size."""


class Barrage(Defense):
    """Apply a few defenses, drawn for each image and in random order: an attack has to survive them all.

    The idea of Raff et al., CVPR 2019 ("Barrage of Random Transforms for Adversarially Robust Defense"), who draw
    parameters as well. All of them must keep the size. Which are drawn, and what they draw, is up to the seed.
    """

    name: Literal["barrage"] = "barrage"
    differentiable: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True

    among: "tuple[AnyDefense, ...]" = Field(
        DEFAULT_AMONG,
        min_length=1,
        max_length=8,
        description="The defenses to draw from, each with its own parameters; chains and barrages are not allowed.",
        examples=[[{"name": "jpeg"}, {"name": "median-blur"}, {"name": "flip"}]],
    )
    count: int = Field(
        3, ge=1, le=8, description="How many of them each image goes through, each at most once.", examples=[1, 5]
    )

    @field_validator("among", mode="before")
    @classmethod
    def _flat(cls, among: Any) -> Any:
        if (found := sequences.listed(among)) is not None:
            among = found
            names = [one.get("name") if isinstance(one, dict) else getattr(one, "name", None) for one in among]
            if any(name in MADE_OF_DEFENSES for name in names):
                raise ValueError("a barrage cannot hold a chain or a barrage")
        return among

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if self.count > len(self.among):
            raise ValueError(f"count is {self.count}, but there are only {len(self.among)} defenses to draw from")
        for one in self.among:
            if any(one.output_size(size) != size for size in _PROBES):
                raise ValueError(
                    f"{one.name} with these parameters changes the size of images, which a barrage does not allow"
                )
        return self

    @property
    def is_stochastic(self) -> bool:
        return len(self.among) > 1 or self.among[0].is_stochastic

    @property
    def is_differentiable(self) -> bool:
        return all(one.is_differentiable for one in self.among)

    @property
    def effective_cost(self) -> Cost:
        return sequences.cost(self.among)

    @property
    def is_batchable(self) -> bool:
        return False  # each image goes its own way

    def availability(self) -> Availability:
        return sequences.availability(self.among)

    def work(self, size: tuple[int, int]) -> float:
        return sum(sorted((one.work(size) for one in self.among), reverse=True)[: self.count])

    def largest(self, size: tuple[int, int]) -> int:
        return max(one.largest(size) for one in self.among)

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        drawn = self._drawn(noise)
        return torch.cat([sequences.purify(steps, images[i : i + 1], its) for i, (steps, its) in enumerate(drawn)])

    def straight_through(self, images: Tensor, noise: Noise) -> Tensor:
        return self.purify(images, noise)  # each brings its own gradient, exact where it has one

    def restore(self, purified: Tensor, size: tuple[int, int], noise: Noise) -> Aligned:
        found = [
            sequences.restore(steps, purified[i : i + 1], size, its)
            for i, (steps, its) in enumerate(self._drawn(noise))
        ]
        return Aligned(torch.cat([one.images for one in found]), torch.cat([one.valid for one in found]))

    def _drawn(self, noise: Noise) -> Iterator[tuple[list[Defense], Noise]]:
        """Yield for each image what it goes through, and the noise of that."""
        parts = noise.child(1, "barrage")  # child 0 would draw what decides here
        for index, generator in enumerate(noise.generators):
            order = torch.randperm(len(self.among), generator=generator)[: self.count].tolist()
            yield [self.among[number] for number in order], parts.of(index)
