"""The only file that knows RQ.

RQ carries nothing but a job's id from the API to a worker; what the job is, and what became of it, is in the ledger.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError
from rq import Queue, SimpleWorker, get_current_job
from rq import Retry as RqRetry
from rq.exceptions import StopRequested
from rq.job import Job
from rq.timeouts import JobTimeoutException

from models.images import ImageFacts
from workers.answers import Answers, implementation
from workers.batches import Batch, Batches
from workers.claims import Claim, ClaimLostError, Claims
from workers.deliveries import Deliveries
from workers.events import Events
from workers.jobs import Order, Report
from workers.ledger import BROKER_ERRORS, JobCanceledError, Ledger, refusals
from workers.pace import Pace
from workers.record import Failure, JobRecord, Origin, Status
from workers.register import Register
from workers.settings import WorkerSettings

log = logging.getLogger("purifiqa.queue")

TimeLimitError = JobTimeoutException
"""The job ran longer than its cost class may."""

ENTRY = "workers.worker.perform"
RQ_QUEUE = "purifiqa"
RETRIES = 1
HEARTBEAT_SECONDS = 30
WAIT_SECONDS = 1  # for a job, before looking whether to stop, or for jobs that were lost
MAX_POSITION = 10_000  # a list is searched from its head
MAINTENANCE_SECONDS = 20  # RQ gives back what a killed worker had just taken on a pass a minute after it first saw it


class JobQueue(Ledger):
    """Submit, perform and cancel jobs, and all that a ledger does."""

    def __init__(self, settings: WorkerSettings, *, patient: bool = False) -> None:
        super().__init__(settings, patient=patient)
        self._rq = Queue(RQ_QUEUE, connection=self._redis, serializer="json")
        self.pace, self.claims, self.answers = Pace(self._redis), Claims(self._redis), Answers(self._redis, settings)
        self.register, self.batches = Register(self._redis, self), Batches(self._redis, self)
        self.events, self.deliveries = Events(self._async, lambda: self._closing), Deliveries(self._async)

    def submit(self, job_id: str, order: Order, image: ImageFacts, origin: Origin = Origin()) -> JobRecord:  # noqa: B008
        """Write the record and put the job into the queue, both or neither. Raises BROKER_ERRORS."""
        record = JobRecord(id=job_id, order=order, image=image, origin=origin, created=time.time())
        self.submit_all([record])
        return record

    def submit_all(self, records: Sequence[JobRecord], claim: Claim | None = None, batch: Batch | None = None) -> None:
        """Write the records and put into the queue those that have not ended, all or none.

        Raises ClaimLostError if the idempotency key is another request's by now, BROKER_ERRORS.
        """
        with refusals(), self._redis.pipeline() as pipe:
            if claim:
                claim.watch(pipe)
            pipe.multi()  # RQ would ask for it in the middle, where it is too late
            for record in records:
                self.write(record, pipe)
                if record.status.is_final:
                    self.answers.write(record, pipe)
                else:
                    self._enqueue(record, pipe)
            if batch:
                self.batches.write(batch, pipe)
            if claim:
                claim.keep(pipe)
            try:
                pipe.execute()
            except WatchError as error:
                raise ClaimLostError from error

    def _enqueue(self, record: JobRecord, pipe: Pipeline) -> None:
        self._rq.enqueue_call(
            ENTRY,
            args=(record.id,),
            job_id=record.id,
            timeout=self.time_limit(record.order),
            result_ttl=0,
            failure_ttl=min(self._settings.result_ttl, 3600),
            ttl=self._settings.queue_ttl,
            retry=RqRetry(max=RETRIES),
            pipeline=pipe,
        )

    def finish(self, record: JobRecord, report: Report) -> None:
        """Mark the job finished; the next like it is answered from the store. Raises JobCanceledError as above."""
        with contextlib.suppress(*BROKER_ERRORS):  # before the end is told: who hears of it may send the same again
            self.answers.remember(record)
        try:
            super().finish(record, report)
        except JobCanceledError:
            self.answers.forget(record)
            raise
        with contextlib.suppress(*BROKER_ERRORS):
            self.pace.note(record.order, time.time() - (record.started or record.created))

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel the job if it has not ended; return the record as it stands then. Raises LookupError."""
        record = self.get(job_id)
        if not record.status.is_final:
            try:
                self.end(record, (Status.QUEUED, Status.RUNNING), Status.CANCELED)
            except JobCanceledError:
                return self.get(job_id)  # it ended in this very moment
            self._forget(job_id)
        return self.get(job_id)

    def erase(self, job_id: str) -> None:
        """Remove every key of the job, running or not. Raises LookupError if there is none."""
        self.answers.forget(self.remove(job_id))
        self._forget(job_id)

    def depth(self) -> int:
        """Return how many jobs wait."""
        return self._rq.count

    def positions(self, job_ids: Sequence[str]) -> list[int | None]:
        """Return how many jobs wait before each; None: it does not wait, or more than MAX_POSITION do."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.lpos(self._rq.key, job_id, maxlen=MAX_POSITION)
            return list(pipe.execute())

    def seconds_left(self, record: JobRecord, position: int | None) -> float:
        """Return an estimate of the seconds until the job ends, from those before it and how fast they went lately."""
        own, every = self.pace.expected(record.order)
        if record.status is Status.RUNNING:
            return own * (1 - record.progress)
        before = self.depth() if position is None else position
        return before * every / max(1, len(self.workers())) + own

    def backlog_seconds(self) -> float:
        """Return an estimate of the seconds until all that waits now is done: for who is turned away."""
        return self.depth() * self.pace.expected()[1] / max(1, len(self.workers()))

    def consume(self, name: str, housekeeping: Callable[[], None]) -> None:
        """Take jobs and perform them in this process until SIGTERM or SIGINT; the current one is still finished."""
        implementation()  # now, so that the first job need not wait for it
        connection = Redis.from_url(self._settings.broker_url())
        worker = _Consumer(
            [RQ_QUEUE], name=name, connection=connection, serializer="json", log_job_description=False,
            maintenance_interval=MAINTENANCE_SECONDS,
            exception_handlers=[self._given_up],
        )  # fmt: skip
        worker.housekeeping = lambda: housekeeping() if self.claim_housekeeping(name) else None
        worker.work(logging_level="WARNING")

    def _given_up(self, job: Job, *_: Any) -> bool:
        """RQ tells of a job that raised or whose worker was lost; after the last try our record must say so too."""
        if not job.retries_left:
            failure = Failure(code="worker-lost", detail="The worker was lost while it did this job, more than once.")
            with contextlib.suppress(JobCanceledError, LookupError):
                record = self.get(job.id)
                self.end(record, (Status.QUEUED, Status.RUNNING), Status.FAILED, failure=failure.model_dump())
        return True

    def _forget(self, job_id: str) -> None:
        """Take the job out of RQ; a running one ends by itself at its next report of progress."""
        if self._redis.lrem(self._rq.key, 1, job_id):  # now nobody else has it
            self._redis.delete(Job.key_for(job_id))


def tries_left() -> int:
    """Return how often RQ will run the current job again if it raises now."""
    job = get_current_job()
    return (job.retries_left or 0) if job else 0


class _Consumer(SimpleWorker):
    """RQ's in-process worker: no fork per job, so models stay loaded."""

    housekeeping: Callable[[], None] = staticmethod(lambda: None)
    _last_beat = -math.inf

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        # RQ beats five times per job, fifteen commands; its registration of a worker lasts eight minutes.
        if pipeline is not None or time.monotonic() - self._last_beat > HEARTBEAT_SECONDS:
            self._last_beat = time.monotonic()
            super().heartbeat(timeout, pipeline)

    @property
    def dequeue_timeout(self) -> int:
        return WAIT_SECONDS

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """RQ asks this before each wait for a job: the one moment at which this worker surely has none."""
        if self._stop_requested:
            raise StopRequested
        return bool(super().should_run_maintenance_tasks)

    def _shutdown(self) -> None:
        # RQ would stop an idle worker at once, also one that has just taken a job and not yet said so: it would be
        # found again only after a minute or two.
        self._stop_requested = True

    def set_state(self, state: str, pipeline: Any = None) -> None:
        # Idle or busy is told with the rest of a job's bookkeeping, or not at all: nobody asks.
        if pipeline is None:
            self._state = state
        else:
            super().set_state(state, pipeline)

    def run_maintenance_tasks(self) -> None:
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        try:
            self.housekeeping()
        except Exception:  # it is tried again; a worker must not end for it
            log.exception("housekeeping failed")
