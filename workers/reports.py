"""The answer to an order, as numbers: every one tells which metric it is of, and where that comes from."""

from typing import Any

from pydantic import BaseModel, Field

from models.attack_alone import AttackFacts, AttackScores
from models.images import ImageFormat
from models.metrics import find_metric


class MetricScale(BaseModel):
    """Which metric a number is of, and how to read it."""

    metric: str = Field(description="The metric, by the name in the order.")
    higher_is_better: bool = Field(description="Whether a larger score means better quality.")
    range: tuple[float | None, float | None] = Field(description="Lowest and highest score; null: unbounded.")
    range_is_exact: bool = Field(
        False, description="Whether every score lies in the range; false: single scores may lie outside."
    )


class MetricSource(BaseModel):
    """Where a metric's numbers come from."""

    version: str = Field(description="Version of the implementation and weights behind the score.")
    preprocessing: str = Field(description="What the metric did to the image before scoring it.")
    human_trained: bool = Field(description="Whether the metric's weights were fitted to human opinions.")
    license: str = Field(description="License of the metric's code and weights, as far as it is stated.")


def told_of(name: str) -> dict[str, Any]:
    """Return what is told of a metric beside its numbers: the fields of MetricScale and MetricSource."""
    told = {**MetricScale.model_fields, **MetricSource.model_fields}.keys() - {"metric"}
    return {"metric": name, **find_metric(name).card.model_dump(include=told)}


class Comparison(MetricScale):
    """One metric's score of the image as it came and as defended, without where it comes from."""

    original: float = Field(description="Score of the original image.")
    defended: float = Field(description="Score of the purified image; with several samples, their median.")
    shift: float = Field(description="defended - original.")
    samples: int = Field(description="Number of independently seeded purifications behind `defended`.")


class Score(MetricSource, Comparison):
    """One metric's score of the image as it came and as defended."""


class AttackReport(AttackScores, MetricSource, MetricScale, AttackFacts):
    """What an attack did to an image, and to the metric's score of it."""


class ResultImage(BaseModel):
    """Facts about a purified or attacked image."""

    format: ImageFormat
    width: int
    height: int
    bytes: int
    sha256: str = ""


class Report(BaseModel):
    """The answer to an order, without the image itself."""

    scores: tuple[Score, ...] = ()
    attack: AttackReport | None = None
    image: ResultImage | None = None
    timings_ms: dict[str, float] = {}
