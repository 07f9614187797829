"""What an attack IS: frozen, bounded parameters, and one method that changes images so that a metric errs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor

from models.attack_target import Target
from models.availability import AVAILABLE, Availability, UnavailableError
from models.defense import Defense
from models.metric import Metric, UnsuitableSizeError
from models.noise import Noise
from models.parameters import Parameters
from models.tensors import MIN_SIDE, check_images


class Goal(StrEnum):
    """Which way an attacker wants the claimed quality to go, whether or not a higher score is better."""

    RAISE = "raise"
    LOWER = "lower"

    def sign(self, metric: Metric) -> int:
        """Return 1 if the metric's score shall rise, -1 if it shall fall."""
        return metric.card.sign if self is Goal.RAISE else -metric.card.sign


class AttackUnavailableError(UnavailableError):
    """The attack cannot be used on this machine; the message says why and what to do."""


class NoGradientError(ValueError):
    """The attack follows gradients and the metric has none."""


class DefenseMissingError(ValueError):
    """The attack is about a defense, and none is named."""


class AttackError(RuntimeError):
    """An attack produced something that is not an image: NaN, infinity or the wrong shape."""


class Attacked(NamedTuple):
    """What an attack did to a batch."""

    images: Tensor
    """The attacked images, (N, 3, H, W), every value a 255th."""
    budget: Tensor | None
    """Largest change that was allowed, in 8-bit levels, (N,); None: this attack has no such limit."""
    queries: Tensor
    """How often each image was scored, (N,), integers."""
    first_slope: Tensor
    """Sum of the magnitudes of each image's first gradient of the loss, (N,); NaN: no gradient was asked for."""


class Attack(Parameters, ABC):
    """An attack on a metric. The object is its parameters; calling it attacks.

    To add one, put a file into `models/attacks/` with one subclass whose `name` equals the file's name (dashes for
    underscores), whose fields are its parameters (each with a bound and a description) and whose docstring's first
    line is the public description. Write `perturb`; the rest follows from it.
    """

    name: str
    white_box: ClassVar[bool] = True
    """True: follows gradients. False: only asks for scores, so that it attacks any metric."""
    stochastic: ClassVar[bool] = False
    """True: the result depends on the seed even without a defense."""
    universal: ClassVar[bool] = False
    """True: the change was learned beforehand on other images; the image under attack is not scored."""
    is_local: ClassVar[bool] = False
    """True: a parameter names a file of the machine that attacks, so that nobody may order it from elsewhere."""
    weights: ClassVar[tuple[str, ...]] = ()
    """Names of the weight files it needs."""
    source: ClassVar[str]
    """Where it was published, and whose parameters the defaults are."""
    presets: ClassVar[Mapping[str, tuple[float, ...]]] = {}
    """For a sweep: the values of a parameter that Guardians of Image Quality (arXiv 2408.01541) tries."""

    goal: Goal = Field(Goal.RAISE, description="Direction in which to move the claimed quality: raise or lower.")
    draws: int = Field(1, ge=1, le=64, description="Draws of a stochastic defense to average over at every step.")
    both: bool = Field(
        False,
        description="With a defense: move the scores before and behind it alike, against a check that compares them.",
    )

    @abstractmethod
    def perturb(self, target: Target) -> Tensor:
        """Return the attacked images, (N, 3, H, W). The one method that an author must write.

        Gradients are off; `target.gradient` and `target.loss` are all that is known of the score. The caller rounds to
        8 bits, clamps to [0, 1] and, if there is a budget, to that. `target.images` must not be changed in place.
        """

    def budgets(self, images: Tensor) -> Tensor | None:
        """Return how far each image's values may go in 8-bit levels, (N,). Default: None, no such limit."""
        return None

    def misleads(self, metric: Metric) -> bool:
        """Return whether it is made against this metric. Default: yes, it looks at the score of the image at hand."""
        return True

    def goes_through(self, defense: Defense | None) -> bool:
        """Return whether it can attack through a defense; None: as one that knows of no defense.

        Default: it can do either, and with `both` it needs a defense. What was made beforehand can do one thing only.
        """
        return defense is not None or not self.both

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of this machine that its result depends on. Default: none."""
        return ()

    def availability(self) -> Availability:
        """Return whether it can attack on this machine, without loading anything. Default: it can."""
        return AVAILABLE

    @property
    def min_side(self) -> int:
        """Smallest height and width in pixels that it can attack. Default: that of any image."""
        return MIN_SIDE

    @property
    def evaluations(self) -> int:
        """Return about how often it scores an image, per draw. Default: as `queries` or `iterations` say, else once."""
        bounds = (getattr(self, name) for name in ("queries", "iterations") if name in type(self).model_fields)
        return int(next(bounds, 1))

    @final
    def check_metric(self, metric: Metric) -> None:
        """Raise NoGradientError if it follows gradients and the metric has none."""
        if self.white_box and not metric.card.differentiable:
            raise NoGradientError(
                f"{self.name} needs gradients, and {metric.card.name} has none: choose another metric, or a black-box "
                "attack, such as square"
            )

    @final
    def check_defense(self, defense: Defense | None) -> None:
        """Raise DefenseMissingError if it is about a defense and there is none."""
        if self.both and defense is None:
            raise DefenseMissingError(
                f"{self.name} with both=true moves the scores before and behind a defense: name the defense"
            )

    @final
    def check_size(self, height: int, width: int) -> None:
        """Raise UnsuitableSizeError if it cannot attack an image of this height and width in pixels."""
        if min(height, width) < self.min_side:
            raise UnsuitableSizeError(
                f"{self.name} needs images of at least {self.min_side} pixels, got {width}x{height}"
            )

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring, the public one-line description."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    @final
    def __call__(
        self, images: Tensor, metric: Metric, defense: Defense | None = None, seed: int | Sequence[int] = 0
    ) -> Tensor:
        """Attack float32 RGB images in [0, 1], (N, 3, H, W), H and W >= 16; return `run`'s images."""
        return self.run(images, metric, defense, seed).images

    @final
    def run(
        self, images: Tensor, metric: Metric, defense: Defense | None = None, seed: int | Sequence[int] = 0
    ) -> Attacked:
        """Attack float32 RGB images in [0, 1], (N, 3, H, W), H and W >= 16, so that `metric` errs.

        With `defense` the attack is adaptive: it attacks the score of the defended image, with `both` that of the image
        as it is, too. The images are first rounded to 8 bits, as a file would hold them; budgets count from there and
        hold exactly for the result, which is 8-bit too. `seed` is one seed for every image or one per image: the same
        image with the same seed gives the same result, alone or in a batch if the metric scores it alike there. No
        gradients flow to `images`.
        Raises ValueError for images or seeds out of contract, NoGradientError for a white-box attack on a metric
        without gradients, DefenseMissingError for `both` without a defense, UnsuitableSizeError,
        AttackUnavailableError, DefenseUnavailableError, MetricUnavailableError,
        MetricError, PurificationError, AttackError if the result is not finite.
        """
        check_images(images)
        self.check_metric(metric)
        self.check_defense(defense)
        if not (availability := self.availability()).available:
            raise AttackUnavailableError(self.name, availability)
        self.check_size(images.shape[2], images.shape[3])
        seeds = (seed,) * len(images) if isinstance(seed, int) else tuple(seed)
        Noise.for_batch(seeds, len(images))  # checks them
        with torch.no_grad():
            levels = images.mul(255).round_()
            clean = levels / 255
            budget = self._whole_levels(clean)
            needs_no_scale = not self.white_box and None in metric.card.range  # scores alone are only compared
            target = Target(
                clean,
                seeds,
                metric,
                defense,
                sign=self.goal.sign(metric),
                draws=self.draws,
                both=self.both,
                budget=None if budget is None else budget / 255,
                width=torch.ones(len(clean)).to(clean) if needs_no_scale else None,
            )
            attacked = self._quantize(self.perturb(target), levels, budget)
        return Attacked(attacked, None if budget is None else budget.flatten(), target.queries, target.first_slope)

    def _whole_levels(self, images: Tensor) -> Tensor | None:
        budget = self.budgets(images)
        # 1e-4: a product such as 255 * (10 / 255) that comes out as 9.99999 means 10.
        return None if budget is None else (budget.to(images) + 1e-4).floor_().view(-1, 1, 1, 1)

    def _quantize(self, perturbed: Tensor, levels: Tensor, budget: Tensor | None) -> Tensor:
        if perturbed.shape != levels.shape:
            raise AttackError(f"{self.name} returned shape {tuple(perturbed.shape)} for {tuple(levels.shape)}")
        if not bool(torch.isfinite(perturbed).all()):
            raise AttackError(f"{self.name} returned NaN or infinite pixels")
        result = perturbed.mul(255).round_().clamp_(0, 255)
        if budget is not None:
            result = result.clamp_(levels - budget, levels + budget)
        return result.div_(255)
