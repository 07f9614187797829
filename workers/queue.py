"""The only file that knows RQ and the names of keys.

Our own record of a job is the authority; RQ carries nothing but its id from the API to a worker. Every change of
state is a compare-and-set in one script, which also tells whoever waits: a canceled job can never turn finished.

    purifiqa:job:<id>        hash: the record                          ends result_ttl after the job, or queue_ttl
    purifiqa:events:<id>     stream: its changes, newest 64            ends with the record
    purifiqa:expired:<id>    that there was such a job                 ends a week after the record
    purifiqa:housekeeping    which worker swept the store last          ends after 5 minutes
    purifiqa:workers         sorted set: live workers by lease end     entries leave when the lease ends
    purifiqa:jobs-total      hash: ended jobs by kind|defense|status   bounded by the catalogue
"""

import json
import math
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any, NamedTuple

import redis.asyncio
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from rq import Queue, SimpleWorker, get_current_job
from rq import Retry as RqRetry
from rq.job import Job
from rq.timeouts import JobTimeoutException

from models.images import ImageFacts
from workers.jobs import Order, Report
from workers.pulse import LEASE_SECONDS
from workers.record import Failure, JobRecord, Status
from workers.settings import WorkerSettings

BROKER_ERRORS = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError)
"""Redis cannot be reached or refuses to write."""
TimeLimitError = JobTimeoutException
"""The job ran longer than its cost class may."""

ENTRY = "workers.worker.perform"
PREFIX = "purifiqa:"
WORKERS = f"{PREFIX}workers"
TOTALS = f"{PREFIX}jobs-total"
RQ_QUEUE = "purifiqa"
RETRIES = 1
EVENTS_KEPT = 64
EXPIRED_NOTE_TTL = 7 * 86_400
HOUSEKEEPING_SECONDS = 300
HEARTBEAT_SECONDS = 30
MAINTENANCE_SECONDS = 20  # RQ gives back what a killed worker had just taken on a pass a minute after it first saw it
BLOCK_SECONDS = 2.0  # shorter than the socket's own patience

_MOVE = files(__package__).joinpath("move.lua").read_text()


class JobUnknownError(LookupError):
    """There never was such a job, or it has been deleted."""


class JobExpiredError(LookupError):
    """There was such a job, but it has been kept as long as promised and is gone."""


class JobCanceledError(Exception):
    """The job was canceled or deleted while it ran."""


class JobQueue:
    """Submit, follow and end jobs. Holds no state of its own, so any number of processes may have one."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        url = settings.broker_url()
        patience: dict[str, Any] = {"socket_connect_timeout": 2, "socket_timeout": 5}
        self._redis: Redis = Redis.from_url(url, retry=Retry(ConstantBackoff(0.1), 2), **patience)
        self._async: redis.asyncio.Redis = redis.asyncio.Redis.from_url(url, **patience)
        self._move = self._redis.register_script(_MOVE)
        self._rq = Queue(RQ_QUEUE, connection=self._redis, serializer="json")

    def submit(self, job_id: str, order: Order, image: ImageFacts) -> JobRecord:
        """Write the record and put the job into the queue, both or neither. Raises BROKER_ERRORS."""
        record = JobRecord(id=job_id, order=order, image=image, created=time.time())
        job, settings = _keys(job_id), self._settings
        with self._redis.pipeline() as pipe:
            pipe.multi()  # RQ would ask for it in the middle, where it is too late
            pipe.hset(job.record, mapping={"fixed": json.dumps(record.fixed()), "status": Status.QUEUED, "progress": 0})
            pipe.expire(job.record, settings.queue_ttl)
            pipe.xadd(job.events, {"status": Status.QUEUED, "progress": 0}, maxlen=EVENTS_KEPT)
            pipe.expire(job.events, settings.queue_ttl)
            pipe.set(job.expired, 1, ex=settings.queue_ttl + EXPIRED_NOTE_TTL)
            self._rq.enqueue_call(
                ENTRY,
                args=(job_id,),
                job_id=job_id,
                timeout=settings.timeout(order.defense.effective_cost),
                result_ttl=0,
                failure_ttl=min(settings.result_ttl, 3600),
                ttl=settings.queue_ttl,
                retry=RqRetry(max=RETRIES),
                pipeline=pipe,
            )
            pipe.execute()
        return record

    def get(self, job_id: str) -> JobRecord:
        """Return the record. Raises JobUnknownError, JobExpiredError, BROKER_ERRORS."""
        job = _keys(job_id)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(job.record)
            pipe.exists(job.expired)
            fields, known = pipe.execute()
        if b"fixed" not in fields:
            raise JobExpiredError(job_id) if known else JobUnknownError(job_id)
        return JobRecord(
            **json.loads(fields[b"fixed"]),
            status=Status(fields[b"status"].decode()),
            progress=float(fields[b"progress"]),
            **{name: json.loads(fields[name.encode()]) for name in _CHANGING if name.encode() in fields},
        )

    def start(self, job_id: str) -> JobRecord:
        """Mark the job running, also when an earlier try ended without a word. Raises JobCanceledError, LookupError."""
        record = self.get(job_id)
        ttl = self._settings.timeout(record.order.defense.effective_cost) + self._settings.result_ttl
        now = time.time()
        self._change(job_id, (Status.QUEUED, Status.RUNNING), Status.RUNNING, ttl=ttl, progress=0, started=now)
        return record.model_copy(update={"status": Status.RUNNING, "progress": 0.0, "started": now})

    def progress(self, job_id: str, fraction: float) -> None:
        """Report the fraction done. Raises JobCanceledError when there is no point in going on."""
        self._change(job_id, (Status.RUNNING,), Status.RUNNING, progress=round(fraction, 4))

    def finish(self, record: JobRecord, report: Report) -> None:
        """Mark the job finished. Raises JobCanceledError if it was canceled or deleted meanwhile."""
        self._end(record, (Status.RUNNING,), Status.FINISHED, progress=1, report=report.model_dump(mode="json"))

    def fail(self, record: JobRecord, failure: Failure) -> None:
        """Mark the job failed. Raises JobCanceledError if it was canceled or deleted meanwhile."""
        self._end(record, (Status.RUNNING,), Status.FAILED, failure=failure.model_dump())

    def requeue(self, job_id: str) -> None:
        """Mark the job queued again, because this try failed and another will follow."""
        self._change(job_id, (Status.RUNNING,), Status.QUEUED, progress=0)

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel the job if it has not ended; return the record as it stands then. Raises LookupError."""
        record = self.get(job_id)
        if not record.status.is_final:
            try:
                self._end(record, (Status.QUEUED, Status.RUNNING), Status.CANCELED)
            except JobCanceledError:
                return self.get(job_id)  # it ended in this very moment
            self._forget(job_id)
        return self.get(job_id)

    def erase(self, job_id: str) -> None:
        """Remove every key of the job, running or not. Raises LookupError if there is none."""
        self.get(job_id)
        self._redis.delete(*_keys(job_id))
        self._forget(job_id)

    def exists(self, job_id: str) -> bool:
        """Return whether the job's record is still kept."""
        return bool(self._redis.exists(_keys(job_id).record))

    async def wait(self, job_id: str, seconds: float) -> bool:
        """Return whether the job is known to end within this time; a broker that cannot be reached knows nothing."""
        deadline, last, events = time.monotonic() + seconds, "0", _keys(job_id).events
        while (left := deadline - time.monotonic()) > 0:
            try:
                answer: Any = await self._async.xread(
                    {events: last}, block=max(1, int(min(left, BLOCK_SECONDS) * 1000))
                )
            except BROKER_ERRORS:
                return False
            for _, entries in answer:
                if any(Status(fields[b"status"].decode()).is_final for _, fields in entries):
                    return True
                last = entries[-1][0]
        return False

    async def close(self) -> None:
        """Close all connections."""
        await self._async.aclose()
        self._redis.close()

    def depth(self) -> int:
        """Return how many jobs wait."""
        return self._rq.count

    def ping(self) -> None:
        """Raise BROKER_ERRORS unless Redis answers."""
        self._redis.ping()

    def beat(self, worker: str) -> None:
        """Say that this worker is alive and ready for LEASE_SECONDS more."""
        now = time.time()
        with self._redis.pipeline() as pipe:
            pipe.zadd(WORKERS, {worker: now + LEASE_SECONDS})
            pipe.zremrangebyscore(WORKERS, 0, now)
            pipe.execute()

    def leave(self, worker: str) -> None:
        """Say that this worker takes no more jobs."""
        self._redis.zrem(WORKERS, worker)

    def workers(self) -> list[str]:
        """Return the names of the workers that are alive and ready."""
        names: Any = self._redis.zrangebyscore(WORKERS, time.time(), "+inf")
        return [name.decode() for name in names]

    def totals(self) -> dict[tuple[str, str, str], int]:
        """Return how many jobs have ended, by kind, defense and status."""
        counts: Any = self._redis.hgetall(TOTALS)
        return {
            (kind, defense, status): int(count)
            for key, count in counts.items()
            for kind, defense, status in [key.decode().split("|")]
        }

    def consume(self, name: str, housekeeping: Callable[[], None]) -> None:
        """Take jobs and perform them in this process until SIGTERM or SIGINT; the current one is still finished."""
        connection = Redis.from_url(self._settings.broker_url())
        worker = _Consumer(
            [RQ_QUEUE], name=name, connection=connection, serializer="json", log_job_description=False,
            maintenance_interval=MAINTENANCE_SECONDS,
        )  # fmt: skip
        worker.housekeeping = housekeeping
        worker.work(logging_level="WARNING")

    def _end(self, record: JobRecord, allowed: tuple[Status, ...], status: Status, **fields: Any) -> None:
        total = f"{record.order.kind}|{record.order.defense.name}|{status}"
        ttl = self._settings.result_ttl
        self._change(record.id, allowed, status, ttl=ttl, total=total, ended=time.time(), **fields)
        self._redis.expire(_keys(record.id).expired, ttl + EXPIRED_NOTE_TTL)

    def _change(
        self, job_id: str, allowed: tuple[Status, ...], status: Status, *, ttl: int = 0, total: str = "", **fields: Any
    ) -> None:
        job = _keys(job_id)
        pairs = [item for name, value in fields.items() for item in (name, json.dumps(value))]
        answer = self._move(
            keys=[job.record, job.events, TOTALS], args=["|".join(allowed), ttl, total, "status", status, *pairs]
        )
        if answer != b"moved":
            raise JobCanceledError(job_id)

    def _forget(self, job_id: str) -> None:
        """Take the job out of RQ; a running one ends by itself at its next report of progress."""
        if self._redis.lrem(self._rq.key, 1, job_id):  # now nobody else has it
            self._redis.delete(Job.key_for(job_id))


def tries_left() -> int:
    """Return how often RQ will run the current job again if it raises now."""
    job = get_current_job()
    return (job.retries_left or 0) if job else 0


class _Keys(NamedTuple):
    record: str
    events: str
    expired: str


_CHANGING = ("started", "ended", "report", "failure")


def _keys(job_id: str) -> _Keys:
    return _Keys(f"{PREFIX}job:{job_id}", f"{PREFIX}events:{job_id}", f"{PREFIX}expired:{job_id}")


class _Consumer(SimpleWorker):
    """RQ's in-process worker: no fork per job, so models stay loaded."""

    housekeeping: Callable[[], None] = staticmethod(lambda: None)
    _last_beat = -math.inf

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        # RQ beats five times per job, fifteen commands; its registration of a worker lasts eight minutes.
        if pipeline is not None or time.monotonic() - self._last_beat > HEARTBEAT_SECONDS:
            self._last_beat = time.monotonic()
            super().heartbeat(timeout, pipeline)

    def set_state(self, state: str, pipeline: Any = None) -> None:
        # Idle or busy is told with the rest of a job's bookkeeping, or not at all: nobody asks.
        if pipeline is None:
            self._state = state
        else:
            super().set_state(state, pipeline)

    def run_maintenance_tasks(self) -> None:
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        if self.connection.set(f"{PREFIX}housekeeping", self.name, nx=True, ex=HOUSEKEEPING_SECONDS):
            self.housekeeping()
