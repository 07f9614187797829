"""Who is there and what they tell of themselves: the workers, their observations, the size of the store."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from workers.keys import MEASURES, STORE, WORKERS, worker_key
from workers.measures import Observations
from workers.pulse import LEASE_SECONDS

PROBE_SECONDS = 1.0
STORE_NOTE_SECONDS = 900


class Roster:
    """The part of a ledger that is about the service, not about jobs."""

    def __init__(self, client: Redis, url: str) -> None:
        self._redis = client
        self._probe: Redis = Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=PROBE_SECONDS, socket_timeout=PROBE_SECONDS
        )
        self.observations = Observations()

    def close_roster(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._probe.close()

    def answers(self) -> bool:
        """Return whether Redis answers at once, for whoever must answer soon whatever Redis does."""
        try:
            return bool(self._probe.ping())
        except (RedisConnectionError, RedisTimeoutError):
            return False

    def beat(self, worker: str, facts: str = "") -> None:
        """Say that this worker is alive and ready for LEASE_SECONDS more, and what it does and has observed."""
        now = time.time()
        with self._carrying() as pipe:
            pipe.zadd(WORKERS, {worker: now + LEASE_SECONDS})
            pipe.zremrangebyscore(WORKERS, 0, now)
            pipe.set(worker_key(worker), facts, ex=LEASE_SECONDS)

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
        """Return the counters of all observations, as workers/measures.py explains them."""
        counts: Any = self._redis.hgetall(MEASURES)
        return {field.decode(): float(amount) for field, amount in counts.items()}

    def note_store(self, size: int, files: int) -> None:
        """Say how much the store holds, as housekeeping found it."""
        with self._redis.pipeline() as pipe:
            pipe.hset(STORE, mapping={"bytes": size, "files": files})
            pipe.expire(STORE, STORE_NOTE_SECONDS)
            pipe.execute()

    def store_size(self) -> tuple[int, int] | None:
        """Return how many bytes and files the store held at the last housekeeping; None: there was none lately."""
        size: Any = self._redis.hmget(STORE, "bytes", "files")
        return None if None in size else (int(size[0]), int(size[1]))

    def workers(self) -> list[str]:
        """Return the names of the workers that are alive and ready."""
        names: Any = self._redis.zrangebyscore(WORKERS, time.time(), "+inf")
        return [name.decode() for name in names]
