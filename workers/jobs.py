"""What a job does: an order and an image in, a report and an image out. No queue, no store, no HTTP."""

import statistics
import time
from collections.abc import Callable, Sequence

from torch import Tensor

from models.defense import Defense
from models.images import ImageError, ImageFormat, ImageLimits, decode, encode
from models.metrics import find_metric
from models.noise import derive_seed
from workers.attacking import attack
from workers.orders import AnyOrder, AttackOrder, DefenseOrder, Kind
from workers.reports import Report, ResultImage, Score, told_of
from workers.spans import tracer
from workers.together import Outcome, Room, Task, compute

ALONE = Room(0)
"""No room for a second image: an order's samples are computed one after another."""


def execute(
    order: AnyOrder,
    data: bytes,
    *,
    limits: ImageLimits | None = None,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda _: None,
    room: Room = ALONE,
    outcome: Outcome | None = None,
) -> tuple[Report, bytes | None]:
    """Carry out `order` on the image file `data`; return the report and the purified or attacked file, if any.

    `progress` is called with the fraction done, between steps; an exception from it ends the job. `outcome` is what
    `execute_together` has computed already; without it, the samples are computed as many at once as `room` allows.
    Raises what image, defense, attack and metrics raise: ImageError, PurificationError, MetricError, ...
    """
    if isinstance(order, AttackOrder):
        return _attack(order, data, limits, device, progress)
    if outcome is None:
        task, decoding = _prepare(order, data, limits, device)
        [outcome] = compute(order.defense, [task], room, progress)
        outcome.timings_ms = {"decode": decoding} | outcome.timings_ms
    scores = tuple(_score(name, outcome, order.samples) for name in order.metrics)
    if order.kind is Kind.SCORE or outcome.purified is None:
        return Report(scores=scores, timings_ms=outcome.timings_ms), None
    start = time.perf_counter()
    with tracer.start_as_current_span("encode"):
        file = encode(outcome.purified, order.format)
    timings = outcome.timings_ms | {"encode": _ms_since(start)}
    facts = _facts(file, order.format, outcome.purified)
    return Report(scores=scores, image=facts, timings_ms=timings), file


def _attack(
    order: AttackOrder, data: bytes, limits: ImageLimits | None, device: str, progress: Callable[[float], None]
) -> tuple[Report, bytes]:
    image, decoding = _decoded(data, limits, device)
    report, file, timings = attack(order, image, progress)
    facts = _facts(file, ImageFormat.PNG, image)
    return Report(attack=report, image=facts, timings_ms={"decode": decoding} | timings), file


def _facts(file: bytes, form: ImageFormat, image: Tensor) -> ResultImage:
    height, width = image.shape[2:]
    return ResultImage(format=form, width=width, height=height, bytes=len(file))


def execute_together(
    orders: Sequence[tuple[DefenseOrder, bytes]],
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


def _prepare(order: DefenseOrder, data: bytes, limits: ImageLimits | None, device: str) -> tuple[Task, float]:
    """Return what is to be computed for an order, and how many milliseconds its image took to decode."""
    image, decoding = _decoded(data, limits, device)
    seeds = tuple(derive_seed(order.seed, index) for index in range(order.distinct_samples))
    has_more = order.kind is Kind.PURIFY or len(order.metrics) > 1
    return Task(image, seeds, order.metrics, has_more=has_more), decoding


def _decoded(data: bytes, limits: ImageLimits | None, device: str) -> tuple[Tensor, float]:
    start = time.perf_counter()
    with tracer.start_as_current_span("decode"):
        image, _ = decode(data, limits or ImageLimits())
    return image.to(device), _ms_since(start)


def _score(name: str, outcome: Outcome, samples: int) -> Score:
    original, middle = outcome.original[name], statistics.median(outcome.defended[name])
    return Score(**told_of(name), original=original, defended=middle, shift=middle - original, samples=samples)


def check_sizes(defense: Defense, metrics: tuple[str, ...], height: int, width: int) -> None:
    """Raise UnsuitableSizeError if a metric cannot take the image as it came or as the defense will leave it."""
    for name in metrics:
        metric = find_metric(name)
        metric.check_size(height, width)
        metric.check_size(*defense.output_size((height, width)))


def _ms_since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 3)
