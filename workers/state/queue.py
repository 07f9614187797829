"""The queue and its parts: put jobs in, end them, take them out, and look at what RQ holds of them.

RQ carries nothing but a job's id from the API to a worker; what the job is, and what became of it, is in the ledger.
A job that has to be done again is put in again, as an entry of its own: earlier entries of it are void.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any

from redis.client import Pipeline
from redis.exceptions import WatchError
from rq import Queue
from rq.executions import ExecutionRegistry
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.results import Result

from workers.reports import Report
from workers.settings import WorkerSettings
from workers.state.answers import Answers
from workers.state.batches import Batch, Batches
from workers.state.broker import BROKER_ERRORS, Broker, refusals
from workers.state.claims import Claim, ClaimLostError, Claims
from workers.state.deliveries import Deliveries
from workers.state.entries import ENTRY, RQ_QUEUE, Entries, entry_id
from workers.state.events import Events
from workers.state.keys import NEXT_ROUNDS, ROUNDS, job_keys
from workers.state.ledger import JobCanceledError, Ledger, write_end
from workers.state.outlook import Outlook
from workers.state.pace import Pace
from workers.state.presence import Presence
from workers.state.quota import Quota
from workers.state.record import Failure, JobRecord, Status
from workers.state.register import Register

FAILURE_TTL = 3600

_LINE_UP = files(__package__).joinpath("line_up.lua").read_text()


def _kept_claims(record: JobRecord, batch: Batch | None) -> list[tuple[str, str, str]]:
    """Return the idempotency keys that stand for the job or its batch: their names, fingerprints and places."""
    claims = [(record.origin.idempotency, record.origin.fingerprint, record.id)]
    if batch:
        claims.append((batch.idempotency, batch.fingerprint, batch.id))
    return [claim for claim in claims if claim[0] and claim[1]]


class JobQueue:
    """Submit jobs, put them back, restore, end and erase them, and see what RQ holds. Its parts do all else."""

    def __init__(self, settings: WorkerSettings, *, patient: bool = False) -> None:
        """`patient` and what it raises: as a Broker."""
        self._settings = settings
        self.broker = Broker(settings, patient=patient)
        self.presence = Presence(self.broker)
        self.ledger = Ledger(self.broker, settings, self.presence.observations)
        redis = self._redis = self.broker.connection
        self.rq = Queue(RQ_QUEUE, connection=redis, serializer="json")
        self._line_up = redis.register_script(_LINE_UP)
        self.pace, self.claims, self.answers = Pace(redis), Claims(redis), Answers(redis, settings)
        self.register = Register(redis, self.ledger)
        self.batches = Batches(redis, self.claims, self.ledger.longest_life)
        self.outlook = Outlook(redis, self.presence, self.pace, self.depth, self.rq.key)
        self.quota = Quota(redis, settings)
        self.events, self.deliveries = Events(self.broker), Deliveries(self.broker.async_connection)

    def submit_all(
        self,
        records: Sequence[JobRecord],
        claim: Claim | None = None,
        batch: Batch | None = None,
        also: Callable[[Pipeline], None] = lambda _: None,
    ) -> None:
        """Write the records and put into the queue those that have not ended, all or none.

        `also` adds to the transaction what is to be done if they are accepted, and only then.
        Raises ClaimLostError if the idempotency key is another request's by now, BROKER_ERRORS.
        """
        with refusals(), self._redis.pipeline() as pipe:
            if claim:
                claim.watch(pipe)
            pipe.multi()  # RQ would ask for it in the middle, where it is too late
            for record in records:
                self.ledger.write(record, pipe)
                if record.status.is_final:
                    self.answers.write(record, pipe)
                else:
                    self._put(record, pipe)
            if batch:
                self.batches.write(batch, pipe)
            if claim:
                claim.keep(pipe)
            also(pipe)
            try:
                pipe.execute()
            except WatchError as error:
                raise ClaimLostError from error

    def restore(self, record: JobRecord, batch: Batch | None = None) -> bool:
        """Write a record that Redis has lost, and put the job into the queue if it has not ended.

        With it come back its place among its owner's jobs, its batch, its idempotency key and a webhook that was not
        delivered. Returns False if the record is there, or somebody else writes it now.
        """
        job, left = job_keys(record.id), max(1, int(self.ledger.time_left(record)))
        with refusals(), self._redis.pipeline() as pipe:
            pipe.watch(job.record)  # type: ignore[no-untyped-call]
            if pipe.exists(job.record):
                return False
            pipe.multi()
            self.ledger.write(record, pipe)
            if record.status.is_final:
                write_end(record, left, pipe)
                self.deliveries.restore(record, pipe)
            else:
                self._put(record, pipe)
                self.quota.restore_place(record.origin.owner, record.id, record.created, pipe)
            if batch:
                self.batches.restore(batch, pipe)
            for key, fingerprint, place in _kept_claims(record, batch):
                Claim(key, fingerprint, place).restore(pipe, record.created)
            try:
                pipe.execute()
            except WatchError:
                return False
        return True

    def put_back(
        self, record: JobRecord, *, front: bool = True, setbacks: int | None = None, in_hand: bool = False
    ) -> JobRecord:
        """Put a job that has not ended into the queue again, void its earlier entries; return the record as it is then.

        `in_hand`: RQ performs the job's entry in this process, and removes it itself. If this process is killed in
        between, the reconciler finds the job. Raises JobCanceledError if it has ended or has been put back by somebody
        else.
        """
        record = self.ledger.requeue(record, record.setbacks if setbacks is None else setbacks)
        with refusals(), self._redis.pipeline() as pipe:
            pipe.multi()
            self._put(record, pipe, front=front)
            pipe.execute()
        if not in_hand:
            self.discard(entry_id(record.id, record.placement - 1))
        return record

    def finish(self, record: JobRecord, report: Report) -> None:
        """Mark the job finished; the next like it is answered from the store.

        Raises JobCanceledError if it was canceled, deleted or given to another meanwhile.
        """
        with suppress(*BROKER_ERRORS):  # before the end is told: who hears of it may send the same again
            self.answers.remember(record)
        only, answer = record.placement, report.model_dump(mode="json")
        try:
            self.ledger.end(record, (Status.RUNNING,), Status.FINISHED, only=only, progress=1, report=answer)
        except JobCanceledError:
            self.answers.forget(record)
            raise
        with suppress(*BROKER_ERRORS):
            self.pace.note(record.order, time.time() - (record.started or record.created))

    def fail(self, record: JobRecord, failure: Failure) -> None:
        """Mark the job failed. Raises JobCanceledError if it was canceled, deleted or given to another meanwhile."""
        allowed = (Status.QUEUED, Status.RUNNING)
        self.ledger.end(record, allowed, Status.FAILED, only=record.placement, failure=failure.model_dump())

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel the job if it has not ended; return the record as it stands then. Raises LookupError."""
        record = self.ledger.get(job_id)
        if not record.status.is_final:
            try:
                self.ledger.end(record, (Status.QUEUED, Status.RUNNING), Status.CANCELED)
            except JobCanceledError:
                return self.ledger.get(job_id)  # it ended in this very moment
            self._forget(record)
        return self.ledger.get(job_id)

    def erase(self, job_id: str) -> None:
        """Remove every key of the job, running or not. Raises LookupError if there is none."""
        record = self.ledger.remove(job_id)
        if record.origin.idempotency:
            self.claims.free(record.origin.idempotency, job_id)
        self.answers.forget(record)
        self._forget(record)

    def depth(self) -> int:
        """Return how many jobs wait."""
        return self.rq.count

    def entries(self) -> Entries:
        """Return what waits and what was just taken."""
        with self._redis.pipeline() as pipe:
            pipe.lrange(self.rq.key, 0, -1)
            pipe.lrange(self.rq.intermediate_queue_key, 0, -1)
            waiting, taken = (frozenset(one.decode() for one in ids) for ids in pipe.execute())
        return Entries(waiting, taken)

    def discard(self, entry: str) -> None:
        """Remove all that RQ holds of an entry that nobody will perform or that is void."""
        executions = ExecutionRegistry(entry, self._redis)
        started = StartedJobRegistry(RQ_QUEUE, connection=self._redis)
        members: Any = self._redis.zrange(executions.key, 0, -1)
        ids = [one.decode() for one in members]
        with self._redis.pipeline() as pipe:
            pipe.lrem(self.rq.key, 0, entry)
            pipe.lrem(self.rq.intermediate_queue_key, 0, entry)
            pipe.delete(Job.key_for(entry), executions.key, Result.get_key(entry))  # type: ignore[no-untyped-call]
            for one in ids:
                pipe.delete(f"rq:execution:{entry}:{one}")
                pipe.zrem(started.key, f"{entry}:{one}")
            pipe.execute()

    def _put(self, record: JobRecord, pipe: Pipeline, *, front: bool = False) -> None:
        self.rq.enqueue_call(
            ENTRY,
            args=(record.id, record.placement),
            job_id=entry_id(record.id, record.placement),
            timeout=self.ledger.time_limit(record.order),
            result_ttl=0,
            failure_ttl=FAILURE_TTL,
            ttl=self._settings.queue_ttl,
            at_front=front,
            pipeline=pipe,
        )
        if not front:
            self._line_up(
                keys=[self.rq.key, ROUNDS, NEXT_ROUNDS],
                args=[entry_id(record.id, record.placement), record.origin.owner, self._settings.queue_ttl],
                client=pipe,
            )

    def _forget(self, record: JobRecord) -> None:
        """Take the job out of RQ; a running one ends by itself at its next step."""
        entry = entry_id(record.id, record.placement)
        if self._redis.lrem(self.rq.key, 1, entry):  # now nobody else has it
            self._redis.delete(Job.key_for(entry))
            if self._redis.zrem(ROUNDS, entry):  # its owner has that turn again
                self._redis.hincrby(NEXT_ROUNDS, record.origin.owner, -1)
            if not self._redis.exists(ROUNDS):
                self._redis.delete(NEXT_ROUNDS)
