"""What workers observe, as counters in Redis of a bounded number: every API replica tells the same histograms.

An observation is a few additions in memory. The worker's pulse carries the sums to Redis every few seconds, so that no
job waits for them; a worker that is killed loses those of its last seconds. In the hash `purifiqa:measures` a histogram
has one field per bucket and one for its sum, for each combination of labels:

    job_run_seconds|purify,jpeg|0.25     runs that took from 0.1 to 0.25 seconds
    job_run_seconds|purify,jpeg|sum      seconds of all of them

Labels come from the catalogues, so there are at most 3 kinds x defenses x 16 fields and about 50 more: some 1,250.
"""

import math
import threading
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from redis.client import Pipeline

from workers.state.keys import MEASURES

SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 1800.0)


class Measure(NamedTuple):
    """A histogram: its name without prefix, what it is, its labels, and the upper bounds of its buckets."""

    name: str
    summary: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = SECONDS


QUEUE_SECONDS = Measure("job_queue_seconds", "Seconds from the acceptance of a job to its first start.")
RUN_SECONDS = Measure(
    "job_run_seconds", "Seconds from the last start of a job until it finished or failed.", ("kind", "defense")
)
BATCH_SIZE = Measure("batch_size", "Images computed in one batch.", bounds=(1, 2, 4, 8, 16, 32, 64))
MODEL_LOAD_SECONDS = Measure(
    "model_load_seconds", "Seconds that a starting worker took to load and warm up its models."
)

MEASURES_TOLD = (QUEUE_SECONDS, RUN_SECONDS, BATCH_SIZE, MODEL_LOAD_SECONDS)


class Histogram(NamedTuple):
    """One measure with these labels: observations per bucket, the last being above all bounds, and their sum."""

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    total: float


class Observations:
    """What this process has observed and not yet carried to Redis. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, float] = {}
        self._carried: dict[str, float] = {}

    def observe(self, measure: Measure, value: float, *labels: str) -> None:
        """Remember one observation; negative ones, which clocks of two machines can give, count as 0."""
        place = bisect_left(measure.bounds, max(0.0, value))
        bound = measure.bounds[place] if place < len(measure.bounds) else math.inf
        with self._lock:
            self._add(_field(measure, labels, f"{bound:g}"), 1)
            self._add(_field(measure, labels, "sum"), max(0.0, value))

    def carry(self, pipe: Pipeline) -> None:
        """Put what waits into a transaction; call `carried` with whether it was executed."""
        with self._lock:
            self._carried, self._waiting = self._waiting, {}
        for field, amount in self._carried.items():
            pipe.hincrbyfloat(MEASURES, field, amount)

    def carried(self, *, executed: bool) -> None:
        """Forget what was carried, or keep it for the next time."""
        with self._lock:
            for field, amount in () if executed else self._carried.items():
                self._add(field, amount)
            self._carried = {}

    def _add(self, field: str, amount: float) -> None:
        self._waiting[field] = self._waiting.get(field, 0.0) + amount


def _field(measure: Measure, labels: tuple[str, ...], part: str) -> str:
    return "|".join((measure.name, ",".join(labels), part))


def histograms(fields: Mapping[str, float], measure: Measure) -> list[Histogram]:
    """Return the histograms in the hash of Redis, by their labels; of a measure without labels always one."""
    known = {labels for name, labels, _ in (field.split("|") for field in fields) if name == measure.name}
    known |= set() if measure.labels else {""}
    found = []
    for text in sorted(known):
        labels = tuple(text.split(",")) if text else ()
        if len(labels) == len(measure.labels):
            bounds = [f"{bound:g}" for bound in (*measure.bounds, math.inf)]
            counts = tuple(int(fields.get(_field(measure, labels, bound), 0)) for bound in bounds)
            found.append(Histogram(labels, counts, fields.get(_field(measure, labels, "sum"), 0.0)))
    return found
