"""Keeps the store and Redis of one mind: what has had its time is erased, what Redis has lost is restored."""

import contextlib
import itertools
import logging
import time

from workers.recovery import leftovers
from workers.recovery.survey import BrokerRun, Survey
from workers.state.batches import Batch
from workers.state.manifest import read_batch, read_manifest
from workers.state.queue import JobQueue
from workers.state.record import JobRecord
from workers.state.store import Store

log = logging.getLogger("purifiqa.janitor")

ACCEPTING_SECONDS = 30
"""Longest time between an image in the store, written or touched, and its record in Redis, the broker's outages
included."""
ORPHAN_SECONDS = 600
AT_ONCE = 500
ERASED_AT_ONCE = 50
"""In each pass of the reconciler, every two seconds: finding lost jobs must not wait for it."""


class Janitor:
    """Looks into the store after each start of the broker, and every few minutes."""

    def __init__(self, queue: JobQueue, survey: Survey, store: Store, name: str) -> None:
        self._queue, self._survey, self._store, self._name = queue, survey, store, name
        self._seen = ""

    def look(self, broker: BrokerRun) -> None:
        """Erase what has had its time, and tidy up if it is time for that."""
        self.erase_ended(broker.now)
        known = self._survey.is_known(broker)
        old_enough = broker.uptime > ACCEPTING_SECONDS + 5
        if not known and (old_enough or self._seen != broker.run):
            self._seen = broker.run
            self.tidy_store()
            if old_enough:  # by now every job is seen whose record was lost with that broker
                self._survey.remember(broker)
        elif self._queue.presence.claim_housekeeping(self._name):
            self.tidy_store()
            leftovers.remove(self._queue, self._survey)
            self._queue.register.prune()

    def erase_ended(self, now: float) -> None:
        """Erase the files of jobs whose records have just expired."""
        ended = self._survey.ended(now, ERASED_AT_ONCE)
        gone = [job_id for job_id, (kept, _) in zip(ended, self._survey.kept(ended), strict=True) if not kept]
        for job_id in gone:
            try:
                self._store.erase(job_id)
            except (OSError, ValueError):  # the others must not wait; the sweep comes upon it again
                log.exception("the files of job %s cannot be erased", job_id)
        if gone:
            self._survey.bury(gone)

    def tidy_store(self) -> None:
        """Erase the files of jobs that are gone; restore the jobs that should not be."""
        owners = self._store.owners()
        while part := list(itertools.islice(owners, AT_ONCE)):
            for job_id, (kept, known) in zip(part, self._survey.kept(part), strict=True):
                if not kept:
                    self._decide(job_id, known=known)
        self._store.prune()
        self._queue.presence.note_store(*self._store.usage())

    def _decide(self, job_id: str, *, known: bool) -> None:
        age = self._age(job_id)
        if not known and age < ACCEPTING_SECONDS:
            return
        record = None if known else read_manifest(self._store, job_id)
        if record is not None and self._queue.ledger.exists(job_id):
            return  # it was restored meanwhile, with its batch
        if record is not None and self._queue.ledger.time_left(record) > 0:
            batch = read_batch(self._store, job_id)
            others = [one for one in batch.job_ids if one != job_id] if batch else []
            for other in [read_manifest(self._store, one) for one in others]:
                if other is not None and self._queue.ledger.time_left(other) > 0:
                    self._restore(other)
            self._restore(record, batch)  # last: who finds the batch finds all of it
        elif known or record is not None or age > ORPHAN_SECONDS:
            self._store.erase(job_id)

    def _restore(self, record: JobRecord, batch: Batch | None = None) -> None:
        if not self._queue.restore(record, batch):
            return
        log.warning("job %s was missing in Redis and has been restored: %s", record.id, record.status)
        if read_manifest(self._store, record.id) is None:  # it was erased in this very moment
            with contextlib.suppress(LookupError):
                self._queue.erase(record.id)
            if batch:
                self._queue.batches.remove(batch)

    def _age(self, job_id: str) -> float:
        try:
            return time.time() - self._store.path(job_id, "any").parent.stat().st_mtime
        except FileNotFoundError:
            return 0
