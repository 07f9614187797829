"""Who works, and what workers tell of themselves and have observed."""

import contextlib
from collections.abc import Iterator
from typing import Any

from redis.client import Pipeline

from workers.state.broker import Broker
from workers.state.keys import HOUSEKEEPING, MEASURES, STORE, TOTALS, WORKERS, worker_key
from workers.state.measures import Observations
from workers.state.pulse import LEASE_SECONDS

HOUSEKEEPING_SECONDS = 300


class Presence:
    """The workers that are alive, their observations, and the totals of all of them."""

    def __init__(self, broker: Broker) -> None:
        self._redis = broker.connection
        self.observations = Observations()

    def beat(self, worker: str, facts: str = "") -> None:
        """Say that this worker is alive and ready for LEASE_SECONDS more, and what it does and has observed."""
        now = self._now()
        with self._carrying() as pipe:
            pipe.zadd(WORKERS, {worker: now + LEASE_SECONDS})
            pipe.zremrangebyscore(WORKERS, 0, now)
            pipe.set(worker_key(worker), facts, ex=LEASE_SECONDS)

    def _now(self) -> float:
        """Return the time by Redis' clock: those of the machines may differ."""
        seconds, micro = self._redis.time()
        return float(seconds + micro / 1e6)

    def leave(self, worker: str) -> None:
        """Say that this worker takes no more jobs."""
        with self._carrying() as pipe:
            pipe.zrem(WORKERS, worker)
            pipe.delete(worker_key(worker))

    @contextlib.contextmanager
    def _carrying(self) -> Iterator[Pipeline]:
        """Yield a transaction that also carries the observations of this process, and execute it."""
        executed = False
        try:
            with self._redis.pipeline() as pipe:
                self.observations.carry(pipe)
                yield pipe
                pipe.execute()
                executed = True
        finally:
            self.observations.carried(executed=executed)

    def crew(self) -> list[str]:
        """Return what each worker that is alive says of itself."""
        names = self.workers()
        facts: Any = self._redis.mget([worker_key(name) for name in names]) if names else []
        return [text.decode() for text in facts if text]

    def measures(self) -> dict[str, float]:
        """Return the counters of all observations, as workers/state/measures.py explains them."""
        counts: Any = self._redis.hgetall(MEASURES)
        return {field.decode(): float(amount) for field, amount in counts.items()}

    def note_store(self, size: int, files: int) -> None:
        """Say how much the store holds, as housekeeping found it."""
        with self._redis.pipeline() as pipe:
            pipe.hset(STORE, mapping={"bytes": size, "files": files})
            pipe.expire(STORE, 3 * HOUSEKEEPING_SECONDS)
            pipe.execute()

    def store_size(self) -> tuple[int, int] | None:
        """Return how many bytes and files the store held at the last housekeeping; None: there was none lately."""
        size: Any = self._redis.hmget(STORE, "bytes", "files")
        return None if None in size else (int(size[0]), int(size[1]))

    def workers(self) -> list[str]:
        """Return the names of the workers that are alive and ready."""
        names: Any = self._redis.zrangebyscore(WORKERS, self._now(), "+inf")
        return [name.decode() for name in names]

    def totals(self) -> dict[tuple[str, str, str], int]:
        """Return how many jobs have ended, by kind, defense and status."""
        counts: Any = self._redis.hgetall(TOTALS)
        return {
            (kind, defense, status): int(count)
            for key, count in counts.items()
            for kind, defense, status in [key.decode().split("|")]
        }

    def claim_housekeeping(self, worker: str) -> bool:
        """Return whether it is this worker's turn to look after the store."""
        return bool(self._redis.set(HOUSEKEEPING, worker, nx=True, ex=HOUSEKEEPING_SECONDS))
