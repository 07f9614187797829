"""What one API key may take: turns by rate, and places for jobs that have not ended. Counted in Redis, so that any
number of API processes count together; by scripts, so that none counts twice.
"""

import math
import time
import uuid
from collections.abc import Iterable
from importlib.resources import files

from redis import Redis
from redis.client import Pipeline

from workers.settings import WorkerSettings
from workers.state.broker import refusals
from workers.state.keys import in_flight_key, job_keys, rate_key

_SCRIPTS = files(__package__)


class Quota:
    """The counts of all owners. An owner is the id of an API key."""

    def __init__(self, redis: Redis, settings: WorkerSettings) -> None:
        self._redis, self._kept = redis, 2 * settings.queue_ttl
        self._take_turn = redis.register_script(_SCRIPTS.joinpath("take_turn.lua").read_text())
        self._take_place = redis.register_script(_SCRIPTS.joinpath("take_place.lua").read_text())

    def take_turn(self, owner: str, rate: float, burst: int, cost: float = 1) -> int:
        """Take `cost` turns; return 0, or the whole seconds after which there are so many. Raises BROKER_ERRORS.

        Turns come back at `rate` per second, up to `burst`. What costs less than 1 is no order, and does not wait until
        what is owed has been paid.
        """
        args: list[str | float] = [rate, burst, cost, "look" if cost < 1 else "order", uuid.uuid4().hex]
        with refusals():
            return math.ceil(int(self._take_turn(keys=[rate_key(owner)], args=args)) / 1000)

    def owe_turns(self, owner: str, rate: float, burst: int, cost: float, pipe: Pipeline) -> None:
        """Take `cost` turns, also those that are not there, up to `burst`, as part of a transaction.

        The owner's next order waits until they are there.
        """
        self._take_turn(keys=[rate_key(owner)], args=[rate, burst, cost, "owe", uuid.uuid4().hex], client=pipe)

    def has_place(self, owner: str, most: int) -> bool:
        """Return whether fewer than `most` jobs of the owner have not ended. Raises BROKER_ERRORS."""
        return self.take_place(owner, most, "")

    def take_place(self, owner: str, most: int, job_id: str) -> bool:
        """Count a job that is about to be submitted, if it is not one too many; it leaves when it ends.

        Raises BROKER_ERRORS.
        """
        args: list[str | int | float] = [most, job_keys("").record, time.time(), self._kept, job_id]
        with refusals():
            return bool(self._take_place(keys=[in_flight_key(owner)], args=args))

    def keep_places(self, owner: str, job_ids: Iterable[str]) -> None:
        """Say that these jobs, which have their places, are still about to be submitted. Raises BROKER_ERRORS."""
        with refusals():
            self._redis.zadd(in_flight_key(owner), dict.fromkeys(job_ids, time.time()))

    def restore_place(self, owner: str, job_id: str, since: float, pipe: Pipeline) -> None:
        """Count a job that Redis has lost again, as part of a transaction."""
        if owner:
            pipe.zadd(in_flight_key(owner), {job_id: since})
            pipe.expire(in_flight_key(owner), self._kept)

    def give_place_back(self, owner: str, job_id: str) -> None:
        """Forget a job that was not submitted after all. Raises BROKER_ERRORS."""
        self._redis.zrem(in_flight_key(owner), job_id)
