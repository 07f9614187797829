"""What a job does: an order and an image in, a report and a purified image out. No queue, no store, no HTTP."""

import statistics
import time
from collections.abc import Callable, Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from models.defense import Defense
from models.defenses import AnyDefense
from models.images import ImageError, ImageFormat, ImageLimits, decode, encode
from models.metrics import find_metric
from models.noise import MAX_SEED, derive_seed
from workers.together import Outcome, Room, Task, compute

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


ALONE = Room(0)
"""No room for a second image: an order's samples are computed one after another."""


def execute(
    order: Order,
    data: bytes,
    *,
    limits: ImageLimits | None = None,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda _: None,
    room: Room = ALONE,
    outcome: Outcome | None = None,
) -> tuple[Report, bytes | None]:
    """Carry out `order` on the image file `data`; return the report and, for `purify`, the purified file.

    `progress` is called with the fraction done, between steps; an exception from it ends the job. `outcome` is what
    `execute_together` has computed already; without it, the samples are computed as many at once as `room` allows.
    Raises what the image, the defense and the metrics raise: ImageError, PurificationError, MetricError, ...
    """
    if outcome is None:
        task, decoding = _prepare(order, data, limits, device)
        [outcome] = compute(order.defense, [task], room, progress)
        outcome.timings_ms = {"decode": decoding} | outcome.timings_ms
    scores = tuple(_score(name, outcome, order.samples) for name in order.metrics)
    if order.kind is Kind.SCORE or outcome.purified is None:
        return Report(scores=scores, timings_ms=outcome.timings_ms), None
    start = time.perf_counter()
    file = encode(outcome.purified, order.format)
    timings = outcome.timings_ms | {"encode": _ms_since(start)}
    height, width = outcome.purified.shape[2:]
    facts = PurifiedImage(format=order.format, width=width, height=height, bytes=len(file))
    return Report(scores=scores, image=facts, timings_ms=timings), file


def execute_together(
    orders: Sequence[tuple[Order, bytes]],
    *,
    limits: ImageLimits | None = None,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda _: None,
    room: Room = ALONE,
) -> list[Outcome | None]:
    """Do the costly part of several orders with the same defense as one batch; `execute` makes the rest of each.

    None for an order whose image cannot be read or has another size than the first one: it is to be carried out alone,
    and will say then what is wrong with it. Raises what `compute` raises: then each of them is.
    """
    prepared: list[tuple[Task, float] | None] = []
    for order, data in orders:
        try:
            prepared.append(_prepare(order, data, limits, device))
        except ImageError:
            prepared.append(None)
    first = next((one[0].image.shape for one in prepared if one), None)
    together = [i for i, one in enumerate(prepared) if one and one[0].image.shape == first]
    outcomes: list[Outcome | None] = [None] * len(orders)
    tasks = [(i, *one) for i in together if (one := prepared[i])]
    if not tasks:
        return outcomes
    made = compute(orders[0][0].defense, [task for _, task, _ in tasks], room, progress)
    for (index, _, decoding), outcome in zip(tasks, made, strict=True):
        outcome.timings_ms = {"decode": decoding} | outcome.timings_ms
        outcomes[index] = outcome
    return outcomes


def _prepare(order: Order, data: bytes, limits: ImageLimits | None, device: str) -> tuple[Task, float]:
    """Return what is to be computed for an order, and how many milliseconds its image took to decode."""
    start = time.perf_counter()
    image, _ = decode(data, limits or ImageLimits())
    seeds = tuple(derive_seed(order.seed, index) for index in range(_distinct_samples(order)))
    has_more = order.kind is Kind.PURIFY or len(order.metrics) > 1
    task = Task(image.to(device), seeds, order.metrics, has_more=has_more)
    return task, _ms_since(start)


def _distinct_samples(order: Order) -> int:
    """A deterministic defense gives the same answer for every seed: one purification stands for all samples."""
    return order.samples if order.defense.is_stochastic else 1


def _score(name: str, outcome: Outcome, samples: int) -> Score:
    card = find_metric(name).card
    original, middle = outcome.original[name], statistics.median(outcome.defended[name])
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


def _ms_since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 3)
