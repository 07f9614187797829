"""What can be ordered of an image, complete: the same order on the same image gives the same answer."""

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.attacks import OrderableAttack
from models.defense import WORK, Cost
from models.defenses import AnyDefense
from models.images import ImageFormat
from models.noise import MAX_SEED
from workers.settings import WorkerSettings

MAX_SAMPLES = 32


class Kind(StrEnum):
    """The three things that can be ordered."""

    PURIFY = "purify"
    SCORE = "score"
    ATTACK = "attack"


class Order(BaseModel, ABC):
    """What all orders have, and what whoever queues, counts and bounds them needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: ClassVar[str]
    """The field of a request that says most about how much is to be done."""

    kind: Kind
    metrics: tuple[str, ...] = ()
    seed: int = Field(0, ge=0, le=MAX_SEED)

    @property
    @abstractmethod
    def is_stochastic(self) -> bool:
        """Whether the answer depends on the seed."""

    @property
    @abstractmethod
    def names(self) -> dict[str, str]:
        """What it is about, for logs, traces and counts: its kind, and what it names. There always is a `defense`."""

    @abstractmethod
    def time_limit(self, settings: WorkerSettings) -> int:
        """Return the seconds that carrying it out may take."""

    @abstractmethod
    def work(self, size: tuple[int, int]) -> float:
        """Return roughly how much work an image of (height, width) is, in pixels x evaluations of a small network."""

    def held(self, size: tuple[int, int]) -> float:
        """Return how much of that work is kept in memory at once, for a gradient; in the same unit."""
        return 0

    @abstractmethod
    def largest(self, size: tuple[int, int]) -> int:
        """Return the most pixels that an image of (height, width) has on its way."""


class DefenseOrder(Order):
    """To purify an image, or to score it before and after."""

    subject: ClassVar[str] = "defense"

    kind: Literal[Kind.PURIFY, Kind.SCORE]
    defense: AnyDefense
    samples: int = Field(1, ge=1, le=MAX_SAMPLES)
    format: ImageFormat = ImageFormat.PNG

    @property
    def is_stochastic(self) -> bool:
        return self.defense.is_stochastic

    @property
    def names(self) -> dict[str, str]:
        return {"kind": self.kind, "defense": self.defense.name}

    @property
    def distinct_samples(self) -> int:
        """A deterministic defense gives the same answer for every seed: one purification stands for all samples."""
        return self.samples if self.is_stochastic else 1

    def time_limit(self, settings: WorkerSettings) -> int:
        return settings.timeout(self.defense.effective_cost) * self.samples

    def work(self, size: tuple[int, int]) -> float:
        return self.defense.work(size) * self.distinct_samples

    def largest(self, size: tuple[int, int]) -> int:
        return self.defense.largest(size)


class AttackOrder(Order):
    """To change an image so that a metric errs; with a defense, the score of the defended image is attacked."""

    subject: ClassVar[str] = "attack"

    kind: Literal[Kind.ATTACK] = Kind.ATTACK
    attack: OrderableAttack
    metrics: tuple[str]
    defense: AnyDefense | None = None

    @property
    def is_stochastic(self) -> bool:
        return self.attack.stochastic or (self.defense is not None and self.defense.is_stochastic)

    @property
    def names(self) -> dict[str, str]:
        through = "none" if self.defense is None else self.defense.name
        return {"kind": self.kind, "defense": through, "attack": self.attack.name}

    def time_limit(self, settings: WorkerSettings) -> int:
        return settings.timeout_attack

    def work(self, size: tuple[int, int]) -> float:
        draws = self.attack.draws if self.defense is not None and self.defense.is_stochastic else 1
        return self._once(size) * draws * self.attack.evaluations

    def held(self, size: tuple[int, int]) -> float:
        return self._once(size) if self.attack.white_box else 0

    def largest(self, size: tuple[int, int]) -> int:
        return size[0] * size[1] if self.defense is None else self.defense.largest(size)

    def _once(self, size: tuple[int, int]) -> float:
        if self.defense is None:
            return _scored(size)
        return self.defense.work(size) + _scored(self.defense.output_size(size)) + self.attack.both * _scored(size)


def _scored(size: tuple[int, int]) -> float:
    height, width = size
    return height * width * WORK[Cost.NETWORK]


AnyOrder = Annotated[DefenseOrder | AttackOrder, Field(discriminator="kind")]
