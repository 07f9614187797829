"""The records of jobs in Redis.

A record is the authority about its job. Every change of state is a compare-and-set in one script, which also tells
whoever waits: a canceled job can never turn finished.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import redis.asyncio
from pydantic import ValidationError
from redis import Redis
from redis.backoff import ConstantBackoff, ExponentialWithJitterBackoff
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from workers.jobs import Order, Report
from workers.keys import HOUSEKEEPING, TOTALS, job_keys
from workers.measures import QUEUE_SECONDS, RUN_SECONDS
from workers.record import Failure, JobRecord, Status
from workers.roster import Roster
from workers.settings import WorkerSettings

EVENTS_KEPT = 64
EXPIRED_NOTE_TTL = 7 * 86_400
HOUSEKEEPING_SECONDS = 300
MAX_WAITING = 10_000
BLOCK_SECONDS = 2.0  # shorter than the socket's own patience

_MOVE = files(__package__).joinpath("move.lua").read_text()


class BrokerRefusedError(RuntimeError):
    """Redis answers, but does not do as it is told: its disk is full, its replicas are gone, ..."""


BROKER_ERRORS = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError, BrokerRefusedError)
"""Redis cannot be reached or refuses to write."""


class JobUnknownError(LookupError):
    """There never was such a job, or it has been deleted."""


class JobExpiredError(LookupError):
    """There was such a job, but it has been kept as long as promised and is gone."""


class JobCanceledError(Exception):
    """The job was canceled or deleted while it ran."""


class Ledger(Roster):
    """Write, read, change and follow records. Holds no state of its own, so any number of processes may have one."""

    def __init__(self, settings: WorkerSettings, *, patient: bool = False) -> None:
        """`patient` rides out a broker's restart of some seconds, as a worker should; an API rather answers 503."""
        self._settings = settings
        url = settings.broker_url()
        timeouts: dict[str, Any] = {"socket_connect_timeout": 2, "socket_timeout": 5}
        retry = Retry(ExponentialWithJitterBackoff(base=0.1, cap=1), 10) if patient else Retry(ConstantBackoff(0.1), 2)
        super().__init__(Redis.from_url(url, retry=retry, **timeouts), url)
        self._async: redis.asyncio.Redis = redis.asyncio.Redis.from_url(url, max_connections=MAX_WAITING, **timeouts)
        self._closing = False
        self._move = self._redis.register_script(_MOVE)

    def write(self, record: JobRecord, pipe: "Pipeline") -> None:
        """Write a new record as part of a transaction."""
        job, ttl = job_keys(record.id), self._settings.queue_ttl
        pipe.hset(job.record, mapping={"fixed": json.dumps(record.fixed()), "status": Status.QUEUED, "progress": 0})
        pipe.expire(job.record, ttl)
        pipe.xadd(job.events, {"status": Status.QUEUED, "progress": 0}, maxlen=EVENTS_KEPT)
        pipe.expire(job.events, ttl)
        pipe.set(job.expired, 1, ex=ttl + EXPIRED_NOTE_TTL)

    def get(self, job_id: str) -> JobRecord:
        """Return the record. Raises JobUnknownError, JobExpiredError, BROKER_ERRORS."""
        job = job_keys(job_id)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(job.record)
            pipe.exists(job.expired)
            fields, known = pipe.execute()
        if b"fixed" not in fields:
            raise JobExpiredError(job_id) if known else JobUnknownError(job_id)
        try:
            return _record(fields)
        except ValidationError as error:  # written by a version that knew other defenses or fields
            raise JobExpiredError(job_id) from error

    def start(self, job_id: str) -> JobRecord:
        """Mark the job running, also when an earlier try ended without a word. Raises JobCanceledError, LookupError."""
        record = self.get(job_id)
        ttl = self.time_limit(record.order) + self._settings.result_ttl
        now = time.time()
        self._change(job_id, (Status.QUEUED, Status.RUNNING), Status.RUNNING, ttl=ttl, progress=0, started=now)
        if record.started is None:
            self.observations.observe(QUEUE_SECONDS, now - record.created)
        return record.model_copy(update={"status": Status.RUNNING, "progress": 0.0, "started": now})

    def progress(self, job_id: str, fraction: float) -> None:
        """Report the fraction done. Raises JobCanceledError when there is no point in going on."""
        self._change(job_id, (Status.RUNNING,), Status.RUNNING, progress=round(fraction, 4))

    def finish(self, record: JobRecord, report: Report) -> None:
        """Mark the job finished. Raises JobCanceledError if it was canceled or deleted meanwhile."""
        self.end(record, (Status.RUNNING,), Status.FINISHED, progress=1, report=report.model_dump(mode="json"))
        self._observe_run(record)

    def fail(self, record: JobRecord, failure: Failure) -> None:
        """Mark the job failed. Raises JobCanceledError if it was canceled or deleted meanwhile."""
        self.end(record, (Status.RUNNING,), Status.FAILED, failure=failure.model_dump())
        self._observe_run(record)

    def _observe_run(self, record: JobRecord) -> None:
        if record.started is not None:
            ran = time.time() - record.started
            self.observations.observe(RUN_SECONDS, ran, record.order.kind, record.order.defense.name)

    def requeue(self, job_id: str) -> None:
        """Mark the job queued again, because this try failed and another will follow."""
        self._change(job_id, (Status.RUNNING,), Status.QUEUED, progress=0)

    def exists(self, job_id: str) -> bool:
        """Return whether the job's record is still kept."""
        return bool(self._redis.exists(job_keys(job_id).record))

    def remove(self, job_id: str) -> None:
        """Remove every key of the record. Raises LookupError if there is none."""
        self.get(job_id)
        self._redis.delete(*job_keys(job_id))

    def claim_housekeeping(self, worker: str) -> bool:
        """Return whether it is this worker's turn to look after the store."""
        return bool(self._redis.set(HOUSEKEEPING, worker, nx=True, ex=HOUSEKEEPING_SECONDS))

    async def wait(self, job_id: str, seconds: float) -> bool:
        """Return whether the job is known to end within this time, or to be gone.

        It may return earlier: a broker that cannot be reached knows nothing, and a service that stops waits no more.
        """
        deadline, last, events = time.monotonic() + seconds, "0", job_keys(job_id).events
        while (left := deadline - time.monotonic()) > 0 and not self._closing:
            try:
                answer: Any = await self._async.xread(
                    {events: last}, block=max(1, int(min(left, BLOCK_SECONDS) * 1000))
                )
                if not answer and not await self._async.exists(events):
                    return True
            except BROKER_ERRORS:
                return False
            for _, entries in answer:
                if any(Status(fields[b"status"].decode()).is_final for _, fields in entries):
                    return True
                last = entries[-1][0]
        return False

    def stop_waiting(self) -> None:
        """Let every `wait` return within BLOCK_SECONDS, because the service stops."""
        self._closing = True

    @property
    def is_closing(self) -> bool:
        """Whether the service stops."""
        return self._closing

    async def close(self) -> None:
        """Close all connections."""
        await self._async.aclose()
        self.close_roster()

    def ping(self) -> None:
        """Raise BROKER_ERRORS unless Redis answers."""
        self._redis.ping()

    def totals(self) -> dict[tuple[str, str, str], int]:
        """Return how many jobs have ended, by kind, defense and status."""
        counts: Any = self._redis.hgetall(TOTALS)
        return {
            (kind, defense, status): int(count)
            for key, count in counts.items()
            for kind, defense, status in [key.decode().split("|")]
        }

    def time_limit(self, order: Order) -> int:
        """Return the seconds that carrying out this order may take."""
        return self._settings.timeout(order.defense.effective_cost) * order.samples

    def end(self, record: JobRecord, allowed: tuple[Status, ...], status: Status, **fields: Any) -> None:
        """End a job that is in one of the allowed states. Raises JobCanceledError if it is in none of them."""
        total = f"{record.order.kind}|{record.order.defense.name}|{status}"
        ttl = self._settings.result_ttl
        self._change(record.id, allowed, status, ttl=ttl, total=total, ended=time.time(), **fields)
        self._redis.expire(job_keys(record.id).expired, ttl + EXPIRED_NOTE_TTL)

    def _change(
        self, job_id: str, allowed: tuple[Status, ...], status: Status, *, ttl: int = 0, total: str = "", **fields: Any
    ) -> None:
        job = job_keys(job_id)
        pairs = [item for name, value in fields.items() for item in (name, json.dumps(value))]
        with refusals():
            answer = self._move(
                keys=[job.record, job.events, TOTALS], args=["|".join(allowed), ttl, total, "status", status, *pairs]
            )
        if answer != b"moved":
            raise JobCanceledError(job_id)


_CHANGING = ("started", "ended", "report", "failure")


def _record(fields: dict[bytes, bytes]) -> JobRecord:
    return JobRecord(
        **json.loads(fields[b"fixed"]),
        status=Status(fields[b"status"].decode()),
        progress=float(fields[b"progress"]),
        **{name: json.loads(fields[name.encode()]) for name in _CHANGING if name.encode() in fields},
    )


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn a refusal of Redis into BrokerRefusedError."""
    try:
        yield
    except (OutOfMemoryError, ReadOnlyError):
        raise
    except ResponseError as error:
        raise BrokerRefusedError(str(error)) from error
