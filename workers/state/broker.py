"""The connections to Redis, and what can be wrong with them."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio
from redis import Redis
from redis.backoff import ConstantBackoff, ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from workers.settings import WorkerSettings
from workers.state.keys import PROBE

MAX_WAITING = 10_000
PROBE_SECONDS = 1.0


class BrokerRefusedError(RuntimeError):
    """Redis answers, but does not do as it is told: its disk is full, its replicas are gone, ..."""


BROKER_ERRORS = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError, BrokerRefusedError)
"""Redis cannot be reached or refuses to write."""


def without_redis(error: Exception) -> str:
    """Return what a process says that ends for one of BROKER_ERRORS."""
    return f"Redis cannot be used: {str(error).rstrip('.')}; check PURIFIQA_REDIS_URL"


class Broker:
    """A client of Redis for code that waits for answers and one for code that does not."""

    def __init__(self, settings: WorkerSettings, *, patient: bool = False) -> None:
        """`patient` rides out a broker's restart of some seconds, as a worker should; an API rather answers 503.

        Raises ValueError, with the variable's name, for settings that lead to no broker."""
        url = settings.broker_url()
        timeouts: dict[str, Any] = {"socket_connect_timeout": 2, "socket_timeout": 5}
        retry = Retry(ExponentialWithJitterBackoff(base=0.1, cap=1), 10) if patient else Retry(ConstantBackoff(0.1), 2)
        try:
            self.connection: Redis = Redis.from_url(url, retry=retry, **timeouts)
            _check_database(url)
            self.connection.connection_pool.make_connection()  # connects to nobody; takes no options that there are not
        except (TypeError, ValueError) as error:
            raise ValueError(f"PURIFIQA_REDIS_URL: {error}") from error
        self._probe: Redis = Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=PROBE_SECONDS, socket_timeout=PROBE_SECONDS
        )
        self.async_connection: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            url, max_connections=MAX_WAITING, **timeouts
        )
        self._closing = False

    def stop_waiting(self) -> None:
        """Let whoever waits for a job hear no more of it soon, because the service stops."""
        self._closing = True

    @property
    def is_closing(self) -> bool:
        """Whether the service stops."""
        return self._closing

    async def close(self) -> None:
        """Close all connections."""
        await self.async_connection.aclose()
        self.connection.close()
        self._probe.close()

    def connection_id(self) -> int:
        """Return the id of a connection of this process, which ends with the process."""
        return int(self.connection.client_id())

    def ping(self) -> None:
        """Raise BROKER_ERRORS unless Redis answers."""
        with refusals():
            self.connection.ping()

    def is_up(self) -> bool:
        """Return whether Redis takes a write at once, for whoever must answer soon whatever Redis does."""
        try:
            with refusals():
                return bool(self._probe.set(PROBE, "", px=1))
        except BROKER_ERRORS:
            return False


def _check_database(url: str) -> None:
    """Raise ValueError where redis-py would take the path of a URL that is no number for database 0."""
    parts = urlsplit(url)
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError(f"a database is a number, as in redis://{parts.hostname}/0; it is {parts.path[1:80]!r}")


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn a refusal of Redis into BrokerRefusedError."""
    try:
        yield
    except (OutOfMemoryError, ReadOnlyError):
        raise
    except ResponseError as error:
        raise BrokerRefusedError(str(error)) from error
