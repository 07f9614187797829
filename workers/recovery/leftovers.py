"""What RQ would leave in Redis for a year or for ever: entries of workers that died, and of whoever planted some."""

from typing import Any

from rq.job import Job
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.worker_registration import clean_worker_registry

from workers.recovery.survey import Survey
from workers.state.entries import RQ_QUEUE, job_of
from workers.state.queue import JobQueue

_UNUSED = (CanceledJobRegistry, DeferredJobRegistry, FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry)


def remove(queue: JobQueue, survey: Survey) -> None:
    """Remove all of RQ's keys of our queue that are not of an open job."""
    connection: Any = queue.broker.connection
    clean_worker_registry(queue.rq)
    for kind in _UNUSED:
        registry = kind(RQ_QUEUE, connection=connection)
        for entry in connection.zrange(registry.key, 0, -1):
            queue.discard(entry.decode())
        connection.delete(registry.key)
    stray = {key.decode().removeprefix(Job.redis_job_namespace_prefix) for key in _hashes(connection)}
    started = StartedJobRegistry(RQ_QUEUE, connection=connection)
    running = {member.decode(): member.decode().partition(":")[0] for member in connection.zrange(started.key, 0, -1)}
    open_jobs = set(survey.open_jobs())  # asked last: what was seen before and is not in there has ended
    for entry in stray | set(running.values()):
        if job_of(entry) not in open_jobs:
            queue.discard(entry)
    gone = [member for member, entry in running.items() if job_of(entry) not in open_jobs]
    if gone:
        connection.zrem(started.key, *gone)


def _hashes(connection: Any) -> list[bytes]:
    """Return the keys of RQ's jobs in our queue; others may keep theirs in the same Redis."""
    keys = list(connection.scan_iter(f"{Job.redis_job_namespace_prefix}*", count=1000, _type="hash"))
    with connection.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hget(key, "origin")
        origins = pipe.execute()
    return [key for key, origin in zip(keys, origins, strict=True) if origin == RQ_QUEUE.encode()]
