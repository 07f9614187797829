from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator
from torch import Tensor

from models import sequences
from models.availability import Availability
from models.defense import Aligned, Cost, Defense
from models.noise import Noise
from models.notation import CHAIN

if TYPE_CHECKING:
    from models.defense import Defense as AnyDefense

DEFAULT_STEPS: Any = ({"name": "median-blur"}, {"name": "unsharp"})


class Chain(Defense):
    """Apply several defenses in a row, each to the result of the one before it.

    Step i draws from part i of the noise, so a chain of one defense equals that defense. By default a median filter and
    then sharpening: smooth the perturbation away, then restore the edges.
    """

    name: Literal["chain"] = "chain"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False

    steps: "tuple[AnyDefense, ...]" = Field(
        DEFAULT_STEPS,
        min_length=1,
        max_length=8,
        description="The defenses in their order, each with its own parameters; chains are not allowed.",
        examples=[[{"name": "rotate"}, {"name": "jpeg"}, {"name": "resize"}]],
    )

    @field_validator("steps", mode="before")
    @classmethod
    def _flat(cls, steps: Any) -> Any:
        # Before the steps are built: a deep nest must cost nothing.
        if (found := sequences.listed(steps)) is not None:
            steps = found
            if any(isinstance(step, Chain) or (isinstance(step, dict) and step.get("name") == CHAIN) for step in steps):
                raise ValueError("a chain cannot hold a chain; list its steps instead")
        return steps

    @property
    def is_stochastic(self) -> bool:
        return any(step.is_stochastic for step in self.steps)

    @property
    def is_differentiable(self) -> bool:
        return all(step.is_differentiable for step in self.steps)

    @property
    def effective_cost(self) -> Cost:
        return sequences.cost(self.steps)

    def availability(self) -> Availability:
        return sequences.availability(self.steps)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        for step in self.steps:
            size = step.output_size(size)
        return size

    def work(self, size: tuple[int, int]) -> float:
        return sum(
            step.work(before) for step, before in zip(self.steps, sequences.sizes(self.steps, size), strict=True)
        )

    def largest(self, size: tuple[int, int]) -> int:
        return max(
            step.largest(before) for step, before in zip(self.steps, sequences.sizes(self.steps, size), strict=True)
        )

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        return sequences.purify(self.steps, images, noise)

    def straight_through(self, images: Tensor, noise: Noise) -> Tensor:
        return self.purify(images, noise)  # each step brings its own gradient, exact where it has one

    def restore(self, purified: Tensor, size: tuple[int, int], noise: Noise) -> Aligned:
        return sequences.restore(self.steps, purified, size, noise)
