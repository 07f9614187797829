"""The records of jobs in Redis.

A record is the authority about its job. Every change of state is a compare-and-set in one script, which also tells
whoever waits: a canceled job can never turn finished.
"""

import json
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from pydantic import ValidationError
from redis.client import Pipeline

from models.defense import Cost
from workers.orders import MAX_SAMPLES, Order
from workers.settings import WorkerSettings
from workers.state.broker import Broker, refusals
from workers.state.keys import ENDS, OPEN, TOTALS, WEBHOOKS, in_flight_key, job_keys, jobs_of
from workers.state.measures import QUEUE_SECONDS, RUN_SECONDS, Observations
from workers.state.record import JobRecord, Status

EVENTS_KEPT = 64
EXPIRED_NOTE_TTL = 7 * 86_400

_MOVE, _KEEP = (files(__package__).joinpath(name).read_text() for name in ("move.lua", "keep.lua"))


class JobUnknownError(LookupError):
    """There never was such a job, or it has been deleted."""


class JobExpiredError(LookupError):
    """There was such a job, but it has been kept as long as promised and is gone."""

    def __init__(self, job_id: str, owner: str = "") -> None:
        super().__init__(job_id)
        self.owner = owner


class JobUnreadableError(JobExpiredError):
    """There is such a job, but another version of the service wrote it: for this one it is gone."""


class JobCanceledError(Exception):
    """The job was canceled or deleted while it ran."""


class Ledger:
    """Write, read and change records. Holds no state of its own, so any number of processes may have one."""

    def __init__(self, broker: Broker, settings: WorkerSettings, observations: Observations) -> None:
        self.broker, self._redis = broker, broker.connection
        self._settings, self._observations = settings, observations
        self._move, self._keep = (self._redis.register_script(script) for script in (_MOVE, _KEEP))

    def write(self, record: JobRecord, pipe: Pipeline) -> None:
        """Write a new record as part of a transaction."""
        job, ttl = job_keys(record.id), self._settings.queue_ttl
        pipe.hset(job.record, mapping={"fixed": json.dumps(record.fixed()), "status": Status.QUEUED, "progress": 0})
        pipe.expire(job.record, ttl)
        pipe.xadd(job.events, {"status": Status.QUEUED, "progress": 0}, maxlen=EVENTS_KEPT)
        pipe.expire(job.events, ttl)
        pipe.set(job.expired, record.origin.owner, ex=ttl + EXPIRED_NOTE_TTL)
        pipe.zadd(OPEN, {record.id: record.created})
        pipe.zadd(ENDS, {record.id: time.time() + ttl})
        index, longest = jobs_of(record.origin.owner), self.longest_life
        pipe.zadd(index, {record.id: record.created})
        pipe.zremrangebyscore(index, 0, record.created - longest)
        pipe.expire(index, longest)

    def get(self, job_id: str) -> JobRecord:
        """Return the record. Raises JobUnknownError, JobExpiredError, JobUnreadableError, BROKER_ERRORS."""
        job = job_keys(job_id)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(job.record)
            pipe.get(job.expired)
            fields, owner = pipe.execute()
        if b"fixed" not in fields:
            raise JobUnknownError(job_id) if owner is None else JobExpiredError(job_id, owner.decode())
        try:
            return _record(fields)
        except ValidationError as error:  # written by a version that knew other defenses or fields
            raise JobUnreadableError(job_id, (owner or b"").decode()) from error

    def get_all(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """Return these records in one go; None for one that is gone. Raises BROKER_ERRORS."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(job_keys(job_id).record)
            return [_record_or_none(fields) for fields in pipe.execute()]

    def start(self, job_id: str, *, placement: int | None = None, holder: str = "") -> JobRecord:
        """Mark the job running, leased to `holder` if there is one.

        `placement` says which of the job's entries in the queue was taken; one that has been replaced since is refused.
        Raises JobCanceledError if there is nothing to be done, LookupError.
        """
        record = self.get(job_id)
        ttl = self.time_limit(record.order) + self._settings.result_ttl
        now, allowed = time.time(), (Status.QUEUED, Status.RUNNING)
        self._change(job_id, allowed, Status.RUNNING, only=placement, ttl=ttl, holder=holder, progress=0, started=now)
        if record.started is None:
            self._observations.observe(QUEUE_SECONDS, now - record.created)
        return record.model_copy(update={"status": Status.RUNNING, "progress": 0.0, "started": now})

    def requeue(self, record: JobRecord, setbacks: int) -> JobRecord:
        """Mark the job queued again, with its next placement; return the record as it is then.

        Raises JobCanceledError if it has ended or has been put back by somebody else.
        """
        changed: dict[str, Any] = {"placement": record.placement + 1, "setbacks": setbacks}
        self._change(
            record.id, (Status.QUEUED, Status.RUNNING), Status.QUEUED, only=record.placement,
            ttl=self._settings.queue_ttl, progress=0, **changed,
        )  # fmt: skip
        return record.model_copy(update={**changed, "status": Status.QUEUED, "progress": 0.0})

    def keep(self, record: JobRecord, holder: str, fraction: float | None = None) -> str:
        """Renew the lease of a job that `holder` performs and report the fraction done.

        Returns `running`, or why there is no point in going on: another status, `gone`, or `lost` to another worker.
        """
        job, progress = job_keys(record.id), "" if fraction is None else json.dumps(round(fraction, 4))
        with refusals():
            answer: Any = self._keep(
                keys=[job.record, job.events, job.lease],
                args=[record.placement, holder, self._lease_ms, progress, round(time.time(), 3)],
            )
        return str(answer.decode())

    def exists(self, job_id: str) -> bool:
        """Return whether the job's record is still kept."""
        return bool(self._redis.exists(job_keys(job_id).record))

    def remove(self, job_id: str) -> JobRecord:
        """Remove every key of the record and return it. Raises LookupError if there is none."""
        record = self.get(job_id)
        with self._redis.pipeline() as pipe:
            pipe.delete(*job_keys(job_id))
            pipe.zrem(OPEN, job_id)
            pipe.zrem(ENDS, job_id)
            pipe.zrem(jobs_of(record.origin.owner), job_id)
            pipe.zrem(WEBHOOKS, job_id)
            pipe.zrem(in_flight_key(record.origin.owner), job_id)
            pipe.execute()
        return record

    def time_limit(self, order: Order) -> int:
        """Return the seconds that carrying out this order may take."""
        return order.time_limit(self._settings)

    def time_left(self, record: JobRecord) -> float:
        """Return the seconds for which the job is still to be kept; negative: it has had its time."""
        since, ttl = record.created, self._settings.queue_ttl
        if record.ended is not None:
            since, ttl = record.ended, self._settings.result_ttl
        return since + ttl - time.time()

    @property
    def longest_life(self) -> int:
        """Seconds after which any record must have ended: waiting, running and kept as long as can be."""
        purifying = max(self._settings.timeout(cost) for cost in Cost) * MAX_SAMPLES
        longest = max(purifying, self._settings.timeout_attack)
        return self._settings.queue_ttl + longest + self._settings.result_ttl

    def end(
        self,
        record: JobRecord,
        allowed: tuple[Status, ...],
        status: Status,
        *,
        only: int | None = None,
        **fields: Any,
    ) -> None:
        """End a job that is in one of the allowed states, and of placement `only`. Raises JobCanceledError.

        Whoever ends a job calls `finish`, `fail` or `cancel` of the queue, which sees to the rest.
        """
        total = f"{record.order.kind}|{record.order.names['defense']}|{status}"
        ttl = self._settings.result_ttl
        due = record.id if record.origin.webhook else ""
        self._change(record.id, allowed, status, only=only, ttl=ttl, total=total, due=due, ended=time.time(), **fields)
        self._redis.expire(job_keys(record.id).expired, ttl + EXPIRED_NOTE_TTL)
        if record.started is not None and status is not Status.CANCELED:
            ran = time.time() - record.started
            self._observations.observe(RUN_SECONDS, ran, record.order.kind, record.order.names["defense"])

    @property
    def _lease_ms(self) -> int:
        return int(self._settings.lease * 1000)

    def _change(
        self,
        job_id: str,
        allowed: tuple[Status, ...],
        status: Status,
        *,
        only: int | None = None,
        ttl: int = 0,
        total: str = "",
        due: str = "",
        holder: str = "",
        **fields: Any,
    ) -> None:
        job = job_keys(job_id)
        pairs = [item for name, value in fields.items() for item in (name, json.dumps(value))]
        with refusals():
            answer = self._move(
                keys=[job.record, job.events, job.lease, TOTALS, OPEN, WEBHOOKS, ENDS],
                args=[
                    job_id, "|".join(allowed), "" if only is None else only, ttl, total, holder,
                    self._lease_ms, due, "status", status, *pairs,
                ],
            )  # fmt: skip
        if answer != b"moved":
            raise JobCanceledError(job_id)


_CHANGING = ("started", "seen", "ended", "report", "failure", "delivery", "placement", "setbacks")


def write_end(record: JobRecord, ttl: int, pipe: Pipeline) -> None:
    """Let a job whose record was just written have ended, and be kept for `ttl` seconds, in the same transaction."""
    job = job_keys(record.id)
    changing = record.model_dump(mode="json", include={*_CHANGING}, exclude_none=True)
    told: dict[Any, Any] = {"status": record.status, "progress": 1}
    pipe.hset(job.record, mapping=told | {name: json.dumps(value) for name, value in changing.items()})
    pipe.xadd(job.events, told, maxlen=EVENTS_KEPT)
    for key in (job.record, job.events):
        pipe.expire(key, ttl)
    pipe.expire(job.expired, ttl + EXPIRED_NOTE_TTL)
    pipe.zrem(OPEN, record.id)
    pipe.zadd(ENDS, {record.id: time.time() + ttl})


def _record(fields: dict[bytes, bytes]) -> JobRecord:
    return JobRecord(
        **json.loads(fields[b"fixed"]),
        status=Status(fields[b"status"].decode()),
        progress=float(fields[b"progress"]),
        **{name: json.loads(fields[name.encode()]) for name in _CHANGING if name.encode() in fields},
    )


def _record_or_none(fields: dict[bytes, bytes]) -> JobRecord | None:
    try:
        return _record(fields) if b"fixed" in fields else None
    except ValidationError:
        return None
