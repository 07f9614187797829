"""Compute waiting jobs together with one that was taken; then each is performed as always, with its result at hand.

No job notices: each has its own record, lease, attempts, time limit and failure. What goes wrong with a batch goes
wrong with none of its jobs, which are then done one by one.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass

import torch

from models.cancellation import cancellable
from models.images import ImageLimits
from workers.jobs import execute_together
from workers.orders import DefenseOrder
from workers.process.companions import Companions
from workers.process.lease import Hold, Keeper
from workers.process.stopping import StoppedError, Stopping
from workers.state.broker import BROKER_ERRORS
from workers.state.entries import entry_id, read_entry
from workers.state.ledger import JobCanceledError
from workers.state.measures import BATCH_SIZE
from workers.state.queue import JobQueue
from workers.state.record import JobRecord
from workers.state.store import Store
from workers.telemetry import vitals
from workers.together import Outcome, Room

log = logging.getLogger("purifiqa.worker")

CUDA_PIXELS = 2**22
"""Pixels of a batch on CUDA unless set: 21 images of 512x384."""
_DEVICE_IS_LOST = ("CUDA error", "CUBLAS_STATUS", "cuDNN error")


class AbandonedError(Exception):
    """Nobody waits for any of the batch any more, or it takes longer than one of its jobs may."""


@dataclass
class Begun:
    """A job that is running and waits to be performed."""

    record: JobRecord
    hold: Hold
    outcome: Outcome | None = None


def room_for(pixels: int | None, device: str) -> Room:
    """Return the room that a setting gives; unset: none on a CPU, where batches are no faster."""
    return Room((CUDA_PIXELS if device == "cuda" else 0) if pixels is None else pixels)


def is_device_lost(error: BaseException) -> bool:
    """Return whether CUDA can do nothing more in this process, whatever it is asked to."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _DEVICE_IS_LOST)
    )


class Batcher:
    """Gathers, begins and computes batches for one worker process."""

    def __init__(
        self,
        queue: JobQueue,
        store: Store,
        keeper: Keeper,
        stopping: Stopping,
        *,
        room: Room,
        device: str,
        limits: ImageLimits,
        hard_limit: Callable[[int], AbstractContextManager[None]],
    ) -> None:
        self._queue, self._store, self._keeper, self._stopping = queue, store, keeper, stopping
        self._room, self._device, self._limits, self._hard_limit = room, device, limits, hard_limit
        self._companions = Companions(queue)
        self._begun: dict[str, Begun] = {}

    def pop(self, job_id: str, placement: int) -> Begun | None:
        """Return a job that was begun with a batch, once; None if it was not."""
        begun = self._begun.get(job_id)
        return self._begun.pop(job_id) if begun and begun.record.placement == placement else None

    @contextmanager
    def batch(self, job_id: str, placement: int) -> Iterator[Iterator[str]]:
        """Take and compute what can be computed together with a job that was taken; yield the others' entries.

        The taken job and then each of these have to be performed inside; those that are not are put back.
        """
        with ExitStack() as holds:
            try:
                self._begin(job_id, placement, holds)
                if len(self._begun) > 1:
                    self._compute()
            except BROKER_ERRORS as error:
                log.warning("no batch: Redis cannot be reached: %s", error)
            try:
                yield self._entries_but(job_id)
            finally:
                self._put_back()

    def _begin(self, job_id: str, placement: int, holds: ExitStack) -> None:
        """Mark the job and its companions running, if there are any, and keep their leases."""
        if self._stopping.requested:
            return
        try:
            head = self._queue.ledger.get(job_id)
        except LookupError:
            return
        if head.placement != placement or head.setbacks or not isinstance(head.order, DefenseOrder):
            return  # an attack is always alone
        if not (defense := head.order.defense).is_batchable:
            return
        taken = [
            one.entry
            for one in self._companions.of(head, self._room.pixels(defense))
            if self._companions.take(one.entry)
        ]
        for entry in [entry_id(job_id, placement), *taken] if taken else []:
            one, number = read_entry(entry)
            with suppress(JobCanceledError, LookupError):
                record = self._queue.ledger.start(one, placement=number, holder=self._keeper.holder)
                self._begun[one] = Begun(record, holds.enter_context(self._keeper.hold(record)))

    def _compute(self) -> None:
        """Fill in the outcomes; none if it cannot be done together."""
        begun, orders = [], []
        for one in self._begun.values():
            with suppress(FileNotFoundError):  # it will say so when it is performed
                data = self._store.read(one.record.id, "input")
                if one.hold.is_wanted and isinstance(order := one.record.order, DefenseOrder):
                    begun.append(one)
                    orders.append((order, data))
        limit = max((self._queue.ledger.time_limit(order) for order, _ in orders), default=0)
        check = self._check_of([one.hold for one in begun], limit)

        def report(fraction: float) -> None:
            for one in begun:
                one.hold.fraction = fraction
            check()

        start = time.monotonic()
        vitals.HERE.allow(limit + vitals.GRACE_SECONDS)
        try:
            with cancellable(check), self._hard_limit(limit):
                outcomes = execute_together(
                    orders, limits=self._limits, device=self._device, progress=report, room=self._room
                )
        except AbandonedError:
            log.info("a batch of %d jobs was given up", len(begun))
        except StoppedError:
            log.info("a batch of %d jobs was requeued: this worker has to stop", len(begun))
            self._put_back()  # all at once: the first of them would come behind the others
        except Exception as error:
            if is_device_lost(error):
                log.exception("this worker exits: its device is lost")
                self._stopping.retire()
                self._put_back(setback=True)
                return
            log.warning("a batch of %d jobs failed; each job is now done alone: %s", len(begun), error)
        else:
            for one, outcome in zip(begun, outcomes, strict=True):
                one.outcome = outcome
            self._queue.presence.observations.observe(BATCH_SIZE, len(begun))
            ran = round((time.monotonic() - start) * 1000, 3)
            log.info("jobs were computed together", extra={"jobs": len(begun), "run_ms": ran})

    def _check_of(self, holds: list[Hold], seconds: int) -> Callable[[], None]:
        deadline = time.monotonic() + seconds

        def check() -> None:
            if self._stopping.is_due:
                raise StoppedError
            if time.monotonic() > deadline or not any(hold.is_wanted for hold in holds):
                raise AbandonedError

        return check

    def _entries_but(self, job_id: str) -> Iterator[str]:
        for one in list(self._begun.values()):
            if self._stopping.is_due or (self._stopping.requested and one.outcome is None):
                return
            if one.record.id != job_id:
                yield entry_id(one.record.id, one.record.placement)

    def _put_back(self, *, setback: bool = False) -> None:
        """Put what has begun and was not performed back to where it was."""
        for one in reversed(list(self._begun.values())):
            with suppress(JobCanceledError, LookupError, *BROKER_ERRORS):  # the reconciler finds it then
                self._queue.put_back(one.record, setbacks=one.record.setbacks + setback)
        self._begun.clear()
