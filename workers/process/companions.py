"""Which waiting jobs are computed together with one that was taken, and how they are taken too.

The first in the queue is always performed first, and whoever is passed over keeps its place: a job never has more
batches before it than it had jobs.
"""

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from workers.state.entries import job_of
from workers.state.keys import job_keys
from workers.state.queue import JobQueue
from workers.state.record import JobRecord

WINDOW = 64
"""How far into the queue is looked."""


class Candidate(NamedTuple):
    """A job that waits, as far as it matters here."""

    entry: str
    owner: str
    likeness: tuple[str, int, int]
    """The defense with its parameters, and the width and height of the image: equal for jobs that can be a batch."""
    pixels: int
    """Of all its samples."""


def candidate(entry: str, fixed: dict[str, Any]) -> Candidate:
    """Return what matters of a record's fixed part."""
    order, image = fixed["order"], fixed["image"]
    defense = json.dumps(order["defense"], sort_keys=True)
    pixels = image["width"] * image["height"] * order["samples"]
    owner = fixed.get("origin", {}).get("owner", "")
    return Candidate(entry, owner, (defense, image["width"], image["height"]), pixels)


def choose(head: Candidate, waiting: Sequence[Candidate], pixels: int, workers: int = 1) -> list[Candidate]:
    """Return those that go with `head`, in the order in which they are performed.

    All together have at most so many `pixels`. Owners take turns, beginning with those that the head is not of; an
    owner's jobs stay in their order. Other workers are left their share of those that wait.
    """
    alike = [one for one in waiting if one.likeness == head.likeness]
    most = math.ceil((1 + len(alike)) / max(1, workers)) - 1
    chosen, left = [], pixels - head.pixels
    for one in itertools.islice(_in_turns(alike, head.owner), most):
        if one.pixels > left:
            break
        chosen.append(one)
        left -= one.pixels
    return chosen


def _in_turns(candidates: Iterable[Candidate], last_owner: str) -> Iterable[Candidate]:
    owners: dict[str, list[Candidate]] = {}
    for one in candidates:
        owners.setdefault(one.owner, []).append(one)
    own = owners.pop(last_owner, [])
    rows = itertools.zip_longest(*owners.values(), own)
    return (one for row in rows for one in row if one is not None)


class Companions:
    """Looks into the queue and takes jobs out of it."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    def of(self, record: JobRecord, pixels: int) -> list[Candidate]:
        """Return the waiting jobs that may be computed together with this one. Raises BROKER_ERRORS."""
        redis = self._queue.broker.connection
        entries: Any = redis.lrange(self._queue.rq.key, 0, WINDOW - 1)
        if not entries:
            return []
        with redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.hmget(job_keys(job_of(entry.decode())).record, "fixed", "setbacks")
            found = pipe.execute()
        records = [
            (entry.decode(), json.loads(fixed))
            for entry, (fixed, setbacks) in zip(entries, found, strict=True)
            if fixed is not None and int(setbacks or 0) == 0  # a job that took its worker along is done alone
        ]
        waiting = [candidate(*one) for one in records if "samples" in one[1]["order"]]  # any other is done alone, too
        head = candidate("", record.fixed())
        alike = any(one.likeness == head.likeness for one in waiting)
        return choose(head, waiting, pixels, len(self._queue.presence.workers())) if alike else []

    def take(self, entry: str) -> bool:
        """Take an entry out of the queue; return whether it was there: then nobody else has it.

        It has to be started at once: the reconciler puts back what was taken and not started. Raises BROKER_ERRORS.
        """
        return bool(self._queue.broker.connection.lrem(self._queue.rq.key, 1, entry))
