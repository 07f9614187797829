"""The leases of the jobs that this process performs: renewed by a thread, which also learns of cancels meanwhile."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workers.state.broker import BROKER_ERRORS
from workers.state.ledger import JobCanceledError, Ledger
from workers.state.record import JobRecord, Status

log = logging.getLogger("purifiqa.worker")

POLL_SECONDS = 0.25


class Hold:
    """A job that this process performs. What computes it calls `report` and `check`, which cost nothing."""

    def __init__(self, record: JobRecord) -> None:
        self.record = record
        self.fraction: float | None = None
        self.verdict = str(Status.RUNNING)

    def report(self, fraction: float) -> None:
        """Say how much is done. Raises JobCanceledError."""
        self.fraction = fraction
        self.check()

    @property
    def is_wanted(self) -> bool:
        """Whether there is any point in going on."""
        return self.verdict == Status.RUNNING

    def check(self) -> None:
        """Raise JobCanceledError if there is no point in going on."""
        if not self.is_wanted:
            raise JobCanceledError(f"{self.record.id} is {self.verdict}")


class Keeper:
    """Renews leases a few times per second, reports progress, and notes what became of the jobs elsewhere."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        """Take a ledger with a broker of its own, not patient: a connection that only the thread uses."""
        self._ledger, self._name = ledger, name
        self._line = 0
        self._held: dict[str, Hold] = {}
        self._some = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def holder(self) -> str:
        """Who holds what this process holds: the worker, and the connection that ends when the process does."""
        if not self._line:
            with contextlib.suppress(*BROKER_ERRORS):  # the thread will tell it
                self._line = self._ledger.broker.connection_id()
        return f"{self._name}@{self._line}"

    @contextmanager
    def hold(self, record: JobRecord) -> Iterator[Hold]:
        """Keep the lease of a running job inside. Several may be held at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
            self._thread.start()
        hold = self._held.setdefault(record.id, Hold(record))  # a batch holds its jobs before each is performed
        self._some.set()
        try:
            yield hold
        finally:
            self._held.pop(record.id, None)

    def _run(self) -> None:
        pause, away = threading.Event(), False
        while True:
            if not self._held:
                self._some.clear()
                if not self._held:
                    self._some.wait()
            pause.wait(POLL_SECONDS)
            try:
                self._look()
                away = False
            except BROKER_ERRORS as error:
                if not away:
                    log.warning("the leases of jobs cannot be renewed: %s", error)
                away = True
            except Exception:  # whatever it is, the jobs go on and the next look may succeed
                log.exception("the leases of jobs cannot be renewed")

    def _look(self) -> None:
        held = list(self._held.values())
        if held:
            self._line = self._ledger.broker.connection_id()
        for hold in held:
            fraction, hold.fraction = hold.fraction, None
            hold.verdict = self._ledger.keep(hold.record, self.holder, fraction)
