"""What whoever waits can be told: how many are before, and for how long."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis

from workers.state.entries import entry_id, job_of
from workers.state.keys import job_keys
from workers.state.pace import Pace
from workers.state.presence import Presence
from workers.state.record import JobRecord, Status

MAX_POSITION = 10_000  # a list is searched from its head
OLDEST_AMONG = 8  # at the head of the queue: some of them may have expired


class Outlook:
    """Looks at the queue, the workers and how fast they were lately. Every method raises BROKER_ERRORS."""

    def __init__(self, redis: Redis, presence: Presence, pace: Pace, depth: Callable[[], int], line: str) -> None:
        """`depth`: how many jobs wait; `line`: the key of the list in which their entries do."""
        self._redis, self._presence, self._pace, self._depth, self._line = redis, presence, pace, depth, line

    def positions(self, records: Sequence[JobRecord]) -> list[int | None]:
        """Return how many jobs wait before each; None: it does not wait, or more than MAX_POSITION do."""
        with self._redis.pipeline(transaction=False) as pipe:
            for record in records:
                pipe.lpos(self._line, entry_id(record.id, record.placement), maxlen=MAX_POSITION)
            return list(pipe.execute())

    def seconds_left(self, record: JobRecord, position: int | None) -> float:
        """Return an estimate of the seconds until the job ends, from those before it and how fast they went lately."""
        own, every = self._pace.expected(record.order)
        if record.status is Status.RUNNING:
            return own * (1 - record.progress)
        before = self._depth() if position is None else position
        return before * every / self._crew() + own

    def backlog_seconds(self) -> float:
        """Return an estimate of the seconds until all that waits now is done: for who is turned away."""
        return self._depth() * self._pace.expected()[1] / self._crew()

    def oldest_age(self) -> float:
        """Return for how many seconds the job that has waited longest has done so; 0: none waits."""
        ids: Any = self._redis.lrange(self._line, 0, OLDEST_AMONG - 1)
        with self._redis.pipeline(transaction=False) as pipe:
            for entry in ids:
                pipe.hget(job_keys(job_of(entry.decode())).record, "fixed")
            created = [json.loads(fixed)["created"] for fixed in pipe.execute() if fixed]
        return max(0.0, time.time() - min(created)) if created else 0.0

    def _crew(self) -> int:
        return max(1, len(self._presence.workers()))
