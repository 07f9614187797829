"""Who has which jobs: every owner's jobs in the order they came, newest first, a page at a time."""

from typing import Any, NamedTuple

from redis import Redis

from workers.state.broker import refusals
from workers.state.keys import job_keys, jobs_of
from workers.state.ledger import Ledger
from workers.state.record import JobRecord, Status

CHUNK = 100
MAX_LOOKED_AT = 1000
"""Records that one page may cost when few of them have the status that is asked for."""


class Place(NamedTuple):
    """Where a page ends: when the last job looked at was created, and its id."""

    created: float
    job_id: str


class Page(NamedTuple):
    """Some jobs, and where to go on; None: there are no more."""

    jobs: list[JobRecord]
    end: Place | None


class Register:
    """The lists of jobs. An entry whose record has ended leaves the list when it is come upon."""

    def __init__(self, redis: Redis, ledger: Ledger) -> None:
        self._redis, self._ledger = redis, ledger

    def page(self, owner: str, *, status: Status | None, limit: int, after: Place | None) -> Page:
        """Return the owner's jobs that come after a place, at most `limit`; fewer may be found although more exist.

        Raises BROKER_ERRORS.
        """
        found: list[JobRecord] = []
        for _ in range(MAX_LOOKED_AT // CHUNK):
            places = self._older(owner, after)
            records = self._ledger.get_all([place.job_id for place in places])
            self._forget(owner, [place.job_id for place, one in zip(places, records, strict=True) if one is None])
            for place, record in zip(places, records, strict=True):
                if record is not None and (status is None or record.status is status):
                    if len(found) == limit:
                        return Page(found, after)
                    found.append(record)
                after = place
            if len(places) < CHUNK:
                return Page(found, None)
        return Page(found, after)

    def prune(self) -> None:
        """Remove the entries of all owners whose records have ended. Raises BROKER_ERRORS."""
        for key in list(self._redis.scan_iter(jobs_of("*"), count=1000)):
            owner = key.decode().removeprefix(jobs_of(""))
            after: Place | None = None
            while places := self._older(owner, after):
                after = places[-1]
                records = self._ledger.get_all([place.job_id for place in places])
                self._forget(owner, [place.job_id for place, one in zip(places, records, strict=True) if one is None])

    def _forget(self, owner: str, job_ids: list[str]) -> None:
        """Remove those whose records are gone; one that another version wrote may be unreadable, and stays."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.exists(job_keys(job_id).record)
            gone = [job_id for job_id, is_there in zip(job_ids, pipe.execute(), strict=True) if not is_there]
        if gone:
            with refusals():
                self._redis.zrem(jobs_of(owner), *gone)

    def _older(self, owner: str, after: Place | None) -> list[Place]:
        """Return the next CHUNK entries after a place. Entries of one moment are told apart by their ids."""
        highest = "+inf" if after is None else repr(after.created)
        start, places = 0, list[Place]()
        while len(places) < CHUNK:
            entries: Any = self._redis.zrevrangebyscore(
                jobs_of(owner), highest, "-inf", start=start, num=CHUNK, withscores=True
            )
            read = [Place(created, name.decode()) for name, created in entries]
            places += [place for place in read if after is None or place < after]
            if len(entries) < CHUNK:
                break
            start += CHUNK
        return places[:CHUNK]
