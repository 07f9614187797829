"""The changes of a job as they happen, read from its stream."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from workers.state.broker import BROKER_ERRORS, Broker
from workers.state.keys import job_keys
from workers.state.record import Status

BLOCK_SECONDS = 2.0
"""Between looks at whether the service stops; shorter than the socket's own patience."""
OUTAGE_SECONDS = 60.0
"""How long a broker may be away before a stream ends; its reader comes back by itself."""

START = "0"
_ID = re.compile(r"\d{1,19}(-\d{1,19})?")


class Change(NamedTuple):
    """One change of a job."""

    id: str
    status: Status
    progress: float

    @property
    def name(self) -> str:
        """What happened: `queued`, `running` when it starts, `progress`, or how it ended."""
        return "progress" if self.status is Status.RUNNING and self.progress > 0 else str(self.status)


class Events:
    """The streams of changes. Ids grow; a reader that was cut off goes on after the last one it has seen."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._redis = broker, broker.async_connection

    async def has_more(self, job_id: str, after: str) -> bool:
        """Return whether anything happened after a change. Raises BROKER_ERRORS."""
        return bool(await self._redis.xrange(job_keys(job_id).events, f"({after}", "+", count=1))

    async def follow(self, job_id: str, after: str = START) -> AsyncIterator[Change | None]:
        """Yield the changes after one, past and future, and None when there is no news for BLOCK_SECONDS.

        Ends after the last change, when the job is erased, when the service stops, or when the broker stays away.
        """
        outage = 0.0
        while not self._broker.is_closing and outage < OUTAGE_SECONDS:
            try:
                changes = await self._read(job_id, after, BLOCK_SECONDS)
            except BROKER_ERRORS:
                outage += BLOCK_SECONDS
                yield None
                await asyncio.sleep(BLOCK_SECONDS)
                continue
            outage = 0.0
            if changes is None:
                return
            if not changes:
                yield None
            for change in changes:
                yield change
                if change.status.is_final:
                    return
                after = change.id

    async def wait(self, job_id: str, seconds: float) -> bool:
        """Return whether the job is known to end within this time, or to be gone.

        It may return earlier: a broker that cannot be reached knows nothing, and a service that stops waits no more.
        """
        deadline, after = time.monotonic() + seconds, START
        while (left := deadline - time.monotonic()) > 0 and not self._broker.is_closing:
            try:
                changes = await self._read(job_id, after, min(left, BLOCK_SECONDS))
            except BROKER_ERRORS:
                return False
            if changes is None or any(change.status.is_final for change in changes):
                return True
            after = changes[-1].id if changes else after
        return False

    async def _read(self, job_id: str, after: str, seconds: float) -> list[Change] | None:
        """Return the changes after one, waiting for them so long; None: there will be none. Raises BROKER_ERRORS."""
        key = job_keys(job_id).events
        answer: Any = await self._redis.xread({key: after}, block=max(1, int(seconds * 1000)))
        if not answer and await self._is_over(key) and not await self.has_more(job_id, after):
            return None
        return [_change(entry) for _, entries in answer for entry in entries]

    async def _is_over(self, key: str) -> bool:
        """Return whether the job has ended or is gone: whoever waits for what comes after a later id waits in vain."""
        last: Any = await self._redis.xrevrange(key, count=1)
        return not last or _change(last[0]).status.is_final


def is_change_id(text: str) -> bool:
    """Return whether this can be the id of a change."""
    return _ID.fullmatch(text) is not None


def _change(entry: tuple[bytes, dict[bytes, bytes]]) -> Change:
    name, fields = entry
    return Change(name.decode(), Status(fields[b"status"].decode()), float(fields[b"progress"]))
