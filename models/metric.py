"""What a metric IS: facts that travel with every score, and one method that turns images into scores."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Self, final

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from models.availability import AVAILABLE, Availability, UnavailableError, unavailable
from models.shipped import ShippedWeightsError
from models.tensors import check_images


class MetricError(RuntimeError):
    """A metric failed to give a finite score for every image."""


class UndefinedScoreError(MetricError):
    """The metric has no answer for this image, as some have none for one without texture; another try gives none."""


class UnsuitableSizeError(ValueError):
    """The image is too small or too large for this metric."""


class MetricUnavailableError(UnavailableError):
    """The metric cannot be used on this machine; the message says why and what to do."""


class MetricCard(BaseModel):
    """The facts about a metric: which number it gives, what it needs, and whose it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Unique name; in a family of metrics, `family:name`.")
    aliases: tuple[str, ...] = Field((), description="Other names for it.")
    summary: str = Field(description="One line: what it measures and how.")
    higher_is_better: bool = Field(description="Whether a larger score means better quality.")
    range: tuple[float | None, float | None] = Field(description="Lowest and highest score; null: unbounded.")
    range_is_exact: bool = Field(
        description="Whether every score lies in the range; false: single scores may lie outside."
    )
    differentiable: bool = Field(description="Whether the score has useful gradients with respect to the image.")
    min_side: int = Field(16, ge=1, description="Smallest height and width in pixels that it can score.")
    side_multiple: int = Field(1, ge=1, description="Height and width must be multiples of this.")
    max_aspect: int | None = Field(
        None, description="Largest ratio of the longer side to the shorter one; null: no limit."
    )
    max_pixels: int | None = Field(
        None, description="Largest image that it scores, in pixels (height x width); null: no limit."
    )
    preprocessing: str = Field("native", description="What it does to the image before scoring it.")
    weights: tuple[str, ...] = Field((), description="Names of the weight files that it needs; empty: none.")
    version: str = Field(description="Version of the implementation and weights behind the number.")
    license: str = Field(description="License of the code and weights, as far as it is stated.")
    source: str = Field("", description="Where the method was published.")
    human_trained: bool = Field(False, description="Whether the weights were fitted to human opinions.")

    @property
    def sign(self) -> int:
        """What to multiply a score by, 1 or -1, so that more of it is better."""
        return 1 if self.higher_is_better else -1


class Metric(ABC):
    """A no-reference quality metric. Light until its first score: weights are loaded then, once per process and device.

    To add one, put a file into `models/metrics/` with one subclass that sets `card` and writes `score`. A file that
    stands for many metrics overrides `family` and gives each instance its own card, named `family:name`; such a metric
    is also reached by its bare name where no metric of ours claims it. Where weights may come and go, `card` is a
    property, so that its version tells those that are there.
    """

    card: MetricCard
    is_batchable: ClassVar[bool] = False
    """Whether scoring several images at once can be faster, and gives each the score that it has alone."""

    @abstractmethod
    def score(self, images: Tensor) -> Tensor:
        """Return one finite score per image, (N,). The one method that an author must write.

        `images` is float32 RGB in [0, 1], (N, 3, H, W), of a size that the card allows, and must not be changed in
        place. It may require gradients.
        """

    def availability(self) -> Availability:
        """Return whether it can score on this machine, without loading it. Default: it can."""
        return AVAILABLE

    @classmethod
    def family(cls) -> Iterable[Self]:
        """Yield the metrics this class stands for. Default: one."""
        yield cls()

    @final
    def check_size(self, height: int, width: int) -> None:
        """Raise UnsuitableSizeError if it cannot score an image of this height and width in pixels."""
        card = self.card
        if min(height, width) < card.min_side:
            needed = f"at least {card.min_side} pixels in height and width"
        elif height % card.side_multiple or width % card.side_multiple:
            needed = f"a height and width that are multiples of {card.side_multiple}"
        elif card.max_aspect is not None and max(height, width) > card.max_aspect * min(height, width):
            needed = f"one side at most {card.max_aspect} times as long as the other"
        elif card.max_pixels is not None and height * width > card.max_pixels:
            needed = f"at most {card.max_pixels} pixels"
        else:
            return
        raise UnsuitableSizeError(f"{card.name} needs {needed}, got {width}x{height}")

    @final
    def __call__(self, images: Tensor) -> Tensor:
        """Score float32 RGB images in [0, 1], (N, 3, H, W); return float32 (N,), on the images' device.

        Gradients flow if `images` requires them and the card says `differentiable`; otherwise none are kept.
        Raises ValueError for images out of contract, UnsuitableSizeError, MetricUnavailableError, MetricError if
        `score` returns anything but a finite number per image, or one without the gradient that the card promises,
        UndefinedScoreError where the metric has none.
        """
        check_images(images)
        self.check_size(images.shape[2], images.shape[3])
        availability = self.availability()
        if not availability.available:
            raise MetricUnavailableError(self.card.name, availability)
        needs_gradient = torch.is_grad_enabled() and images.requires_grad and self.card.differentiable
        with torch.set_grad_enabled(needs_gradient):
            try:
                scores = self.score(images)
            except ShippedWeightsError as error:
                raise MetricUnavailableError(self.card.name, unavailable(error.reason, error.cure)) from error
        self._check_scores(scores, len(images), needs_gradient=needs_gradient)
        return scores.float()

    def _check_scores(self, scores: object, count: int, *, needs_gradient: bool) -> None:
        name = self.card.name
        if not isinstance(scores, Tensor):
            raise MetricError(f"{name} returned a {type(scores).__name__}: it needs a tensor of shape ({count},)")
        if tuple(scores.shape) != (count,):
            needed = f"it needs a score for each, shape ({count},)"
            raise MetricError(f"{name} returned shape {tuple(scores.shape)} for {count} images: {needed}")
        if not bool(torch.isfinite(scores.detach()).all()):
            raise MetricError(f"{name} returned a score that is not finite")
        if needs_gradient and not scores.requires_grad:
            raise MetricError(
                f"{name} promises gradients, and its score has none: compute it in torch, without no_grad, detach or "
                "numpy, or say differentiable=False on its card"
            )
