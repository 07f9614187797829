"""Finds what was lost, wherever a process or the broker died, and sees to it that every accepted job ends.

One worker at a time compares the open jobs with the queue, the leases and the connections of those who hold them:

    waits in the queue, or is held by a worker that is there     all is well
    queued, but in no list for QUEUED_SECONDS                    taken by a worker that died at once, or lost: put back
    running, and nobody renews its lease                         its worker is stuck or off the network
    running, and its worker's connection is gone                 its worker is dead: no need to wait for the lease
"""

import logging
import threading
import time

from workers.recovery.janitor import Janitor
from workers.recovery.survey import BrokerRun, State, Survey
from workers.state.broker import BROKER_ERRORS
from workers.state.entries import entry_id, job_of
from workers.state.ledger import JobCanceledError, JobUnreadableError
from workers.state.manifest import close_manifest
from workers.state.queue import JobQueue
from workers.state.record import MOST_SETBACKS, TIME_LIMIT, Failure, JobRecord, Status
from workers.state.store import Store

log = logging.getLogger("purifiqa.reconciler")

INTERVAL_SECONDS = 2.0
QUEUED_SECONDS = 4.0
SILENT_SECONDS = 1.5  # two passes: a worker that the broker had not heard for long may speak up in between


class Reconciler:
    """A thread in every worker; they take turns."""

    def __init__(self, queue: JobQueue, store: Store, name: str, lease: float) -> None:
        """Take a queue of its own, not patient; `lease`: the seconds after which a silent worker has lost its job."""
        self._queue, self._store, self._name, self._lease = queue, store, name, lease
        self._survey = Survey(queue.broker.connection)
        self._janitor = Janitor(queue, self._survey, store, name)
        self._unreadable: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, at the latest when the broker has answered or not."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        away = False
        while not self._stopping.wait(INTERVAL_SECONDS / 2):
            try:
                if self._survey.claim(self._name, INTERVAL_SECONDS * 0.9):
                    self.reconcile()
                away = False
            except BROKER_ERRORS as error:
                if not away:
                    log.warning("Redis cannot be reached: %s", error)
                away = True
            except Exception:  # the next pass may succeed
                log.exception("a pass of the reconciler failed")

    def reconcile(self) -> None:
        """Make one pass. It may be made by several workers at once: each change is a compare-and-set."""
        broker, entries = self._survey.broker(), self._queue.entries()
        waiting = {job_of(entry) for entry in entries.waiting}
        states = self._survey.states(job_id for job_id in self._survey.open_jobs() if job_id not in waiting)
        for job_id, symptom in self._overdue(states, broker).items():
            self._recover(job_id, symptom)
        for entry in entries.taken:
            state = states.get(job_of(entry))
            if state is None or entry != entry_id(job_of(entry), state.placement):
                self._queue.discard(entry)
        self._janitor.look(broker)

    def _overdue(self, states: dict[str, State | None], broker: BrokerRun) -> dict[str, str]:
        """Return the jobs that are lost, each with its state."""
        settled = broker.uptime > self._lease  # after a start of the broker, workers need a moment to come back
        symptoms: dict[str, float] = {}
        running = {job_id: state for job_id, state in states.items() if state and state.status == Status.RUNNING}
        alive = self._survey.connected(state.connection for state in running.values() if state.connection is not None)
        for job_id, state in states.items():
            if state is None or state.status not in (Status.QUEUED, Status.RUNNING):
                self._survey.close(job_id)
            elif state.status == Status.QUEUED:
                symptoms[f"{job_id} queued {state.placement}"] = QUEUED_SECONDS
            elif settled and (state.connection is None or (state.connection and state.connection not in alive)):
                symptoms[f"{job_id} running {state.placement}"] = SILENT_SECONDS
        late = self._survey.overdue(symptoms, broker.now)
        return dict(name.split()[:2] for name in late)

    def _recover(self, job_id: str, status: str) -> None:
        try:
            record = self._queue.ledger.get(job_id)
            if record.status != status:
                return
            if status == Status.QUEUED:
                log.warning("job %s was in no queue; it has been requeued", job_id)
                self._queue.put_back(record)
            elif (failure := self._verdict(record)) is None:
                log.warning("job %s has lost its worker; it has been requeued", job_id)
                self._queue.put_back(record, setbacks=record.setbacks + 1)
            else:
                self._give_up(record, failure)
        except JobUnreadableError:
            if job_id not in self._unreadable:
                log.warning("job %s was written by another version of the service; only that version can do it", job_id)
                self._unreadable.add(job_id)
        except (JobCanceledError, LookupError):
            log.info("job %s has already ended", job_id)

    def _verdict(self, record: JobRecord) -> Failure | None:
        """Return why a job whose worker is lost is not tried again, or None if it is.

        Time in which nobody performed it does not count: all workers, or the machine, may have been away for an hour.
        """
        limit = self._queue.ledger.time_limit(record.order)
        if record.started is not None and record.seen is not None and record.seen - record.started > limit:
            return TIME_LIMIT
        if record.setbacks + 1 >= MOST_SETBACKS:
            detail = "Every worker that ran this job was lost, perhaps because memory ran out; it will not be retried."
            return Failure(code="worker-lost", detail=detail)
        return None

    def _give_up(self, record: JobRecord, failure: Failure) -> None:
        log.error("job %s is given up: %s", record.id, failure.detail)
        self._queue.fail(record, failure)
        self._queue.discard(entry_id(record.id, record.placement))
        ended = {"status": Status.FAILED, "ended": time.time(), "failure": failure}
        close_manifest(self._store, record.model_copy(update=ended))
