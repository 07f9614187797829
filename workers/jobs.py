"""What a job does: an order and an image in, a report and a purified image out. No queue, no store, no HTTP."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import torch
from pydantic import BaseModel, ConfigDict, Field

from models.defense import Defense
from models.defenses import AnyDefense
from models.images import ImageFormat, ImageLimits, decode, encode
from models.metrics import find_metric
from models.noise import MAX_SEED, derive_seed
from workers.spans import tracer

MAX_SAMPLES = 32


class Kind(StrEnum):
    """The two things that can be ordered."""

    PURIFY = "purify"
    SCORE = "score"


class Order(BaseModel):
    """What to do with an image, complete: the same order on the same image gives the same answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    defense: AnyDefense
    metrics: tuple[str, ...] = ()
    seed: int = Field(0, ge=0, le=MAX_SEED)
    samples: int = Field(1, ge=1, le=MAX_SAMPLES)
    format: ImageFormat = ImageFormat.PNG


class Score(BaseModel):
    """One metric's score of the image as it came and as defended."""

    metric: str = Field(description="The metric, by the name it was asked for.")
    higher_is_better: bool = Field(description="Whether a larger score means better quality.")
    range: tuple[float | None, float | None] = Field(description="Lowest and highest score; null: unbounded.")
    original: float = Field(description="Score of the image as it came.")
    defended: float = Field(description="Score of the purified image; the median when several samples were drawn.")
    shift: float = Field(description="defended - original.")
    samples: int = Field(description="Independently seeded purifications behind `defended`.")
    version: str = Field(description="Implementation and weights behind the number.")
    preprocessing: str = Field(description="What the metric did to the image before scoring it.")
    human_trained: bool = Field(description="Whether the metric's weights were fitted to human opinions.")
    license: str = Field(description="Licence of the metric's code and weights, as far as it is stated.")


class PurifiedImage(BaseModel):
    """Facts about a purified image."""

    format: ImageFormat
    width: int
    height: int
    bytes: int
    sha256: str = ""


class Report(BaseModel):
    """The answer to an order, without the image itself."""

    scores: tuple[Score, ...] = ()
    image: PurifiedImage | None = None
    timings_ms: dict[str, float] = {}


def execute(
    order: Order,
    data: bytes,
    *,
    limits: ImageLimits | None = None,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[Report, bytes | None]:
    """Carry out `order` on the image file `data`; return the report and, for `purify`, the purified file.

    `progress` is called with the fraction done, between steps; an exception from it ends the job.
    Raises what the image, the defense and the metrics raise: ImageError, PurificationError, MetricError, ...
    """
    clock = _Clock()
    metrics = {name: find_metric(name) for name in order.metrics}
    seeds = [derive_seed(order.seed, index) for index in range(_distinct_samples(order))]
    steps = _Steps(len(metrics) * (1 + len(seeds)) + len(seeds) + 1, progress)
    with clock("decode"):
        image, _ = decode(data, limits or ImageLimits())
        image = image.to(device)
    original: dict[str, float] = {}
    defended: dict[str, list[float]] = {name: [] for name in metrics}
    with torch.no_grad():
        with clock("score"):
            for name, metric in metrics.items():
                original[name] = float(metric(image))
                steps.done()
        for seed in seeds:
            with clock("purify"):
                purified = order.defense(image, seed)
            steps.done()
            with clock("score"):
                for name, metric in metrics.items():
                    defended[name].append(float(metric(purified)))
                    steps.done()
    scores = tuple(_score(name, original[name], defended[name], order.samples) for name in metrics)
    if order.kind is Kind.SCORE:
        return Report(scores=scores, timings_ms=clock.timings), None
    with clock("encode"):
        file = encode(purified.cpu(), order.format)
    facts = PurifiedImage(format=order.format, width=purified.shape[3], height=purified.shape[2], bytes=len(file))
    return Report(scores=scores, image=facts, timings_ms=clock.timings), file


def _distinct_samples(order: Order) -> int:
    """A deterministic defense gives the same answer for every seed: one purification stands for all samples."""
    return order.samples if order.defense.is_stochastic else 1


def _score(name: str, original: float, defended: list[float], samples: int) -> Score:
    card = find_metric(name).card
    middle = statistics.median(defended)
    return Score(
        metric=name,
        higher_is_better=card.higher_is_better,
        range=card.range,
        original=original,
        defended=middle,
        shift=middle - original,
        samples=samples,
        version=card.version,
        preprocessing=card.preprocessing,
        human_trained=card.human_trained,
        license=card.license,
    )


def check_sizes(defense: Defense, metrics: tuple[str, ...], height: int, width: int) -> None:
    """Raise UnsuitableSizeError if a metric cannot take the image as it came or as the defense will leave it."""
    for name in metrics:
        metric = find_metric(name)
        metric.check_size(height, width)
        metric.check_size(*defense.output_size((height, width)))


class _Clock:
    def __init__(self) -> None:
        self.timings: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        with tracer.start_as_current_span(stage):
            yield
        self.timings[stage] = round(self.timings.get(stage, 0.0) + (time.perf_counter() - start) * 1000, 3)


class _Steps:
    def __init__(self, total: int, progress: Callable[[float], None]) -> None:
        self._total, self._done, self._progress = total, 0, progress

    def done(self) -> None:
        self._done += 1
        self._progress(self._done / self._total)
