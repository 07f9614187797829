"""Do all pieces of a study in processes of their own, one thread each; a process that dies takes one step with it."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from app.bench.folder import FailureRecord, Folder, NotKeptError
from app.bench.items import BenchError
from app.bench.perform import Begun, Ended, perform
from app.bench.units import ATTACK, Unit

TRIES = 2
"""How often a step is tried that takes its process with it."""


CANNOT_KEEP = "results cannot be kept"
GO_ON = "What is finished is kept; run the same command again to resume"


class Work(NamedTuple):
    """A unit, and the steps that have killed a process too often."""

    unit: Unit
    left_out: frozenset[str] = frozenset()


class Idle(NamedTuple):
    """A process wants work."""


class Stuck(NamedTuple):
    """Results cannot be kept: the study must stop."""

    why: str


@dataclass
class _Slot:
    process: BaseProcess
    connection: Connection
    work: Work | None = None
    step: str | None = None
    """What it is doing; None: nothing yet."""


def run(
    units: Iterable[Unit],
    root: Path,
    device: str,
    jobs: int,
    tell: Callable[[Unit, Ended], None],
    deadline: float | None = None,
) -> bool:
    """Do the units in `jobs` processes and `tell` of every step that ended; return False if the deadline came first.

    `deadline` is in seconds of `time.monotonic`; the steps being done then are ended. KeyboardInterrupt ends the
    processes and is passed on; what is finished is kept in any case.
    Raises BenchError if results cannot be kept or processes die before they begin.
    """
    pool = _Pool(root, device, tell, deque(Work(unit) for unit in units), deadline)
    return pool.run(jobs)


class _Pool:
    def __init__(
        self,
        root: Path,
        device: str,
        tell: Callable[[Unit, Ended], None],
        waiting: deque[Work],
        deadline: float | None,
    ) -> None:
        self._root, self._device, self._tell, self._waiting, self._deadline = root, device, tell, waiting, deadline
        self._deaths: Counter[tuple[str, str | None]] = Counter()
        self._slots: list[_Slot] = []

    def run(self, jobs: int) -> bool:
        with _one_thread_each():
            try:
                for _ in range(min(jobs, len(self._waiting))):
                    self._start()
                while self._slots:
                    ready = wait([slot.connection for slot in self._slots], timeout=5)
                    for slot in [slot for slot in self._slots if slot.connection in ready]:
                        self._hear(slot)
            finally:
                for slot in self._slots:
                    slot.process.terminate()
                for slot in self._slots:
                    slot.process.join()
        return not self._waiting

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(theirs, self._root, self._device), daemon=True)
        with _interrupts_held_back():
            process.start()
            theirs.close()
            self._slots.append(_Slot(process, ours))

    def _hear(self, slot: _Slot) -> None:
        try:
            message = slot.connection.recv()
        except (EOFError, OSError):  # in the middle of a message it is an OSError
            self._bury(slot)
            return
        match message:
            case Idle():
                self._give(slot)
            case Begun():
                slot.step = message.step
            case Ended():
                slot.step = None
                if slot.work:
                    self._tell(slot.work.unit, message)
                if self._is_late() and slot.work:
                    if self._is_left(slot.work, message):
                        self._waiting.appendleft(slot.work)
                    self._dismiss(slot)
            case Stuck():
                raise BenchError(f"{CANNOT_KEEP}: {message.why}. {GO_ON}")

    def _give(self, slot: _Slot) -> None:
        slot.work = slot.step = None
        if not self._waiting or self._is_late():
            self._dismiss(slot)
            return
        slot.work = self._waiting.popleft()
        with contextlib.suppress(BrokenPipeError):  # it is dead, and will be heard to be
            slot.connection.send(slot.work)

    def _dismiss(self, slot: _Slot) -> None:
        slot.process.terminate()
        slot.process.join()
        slot.connection.close()
        self._slots.remove(slot)

    def _bury(self, slot: _Slot) -> None:
        """Take a dead process away, put its work back, and start another."""
        self._dismiss(slot)
        work, step = slot.work, slot.step
        code = slot.process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        place = work.unit.place if work else ""
        self._deaths[place, step] += 1
        tries = self._deaths[place, step]
        if step is None and tries > TRIES:
            raise BenchError(f"a process of the study died before it could begin {place or 'anything'} ({how})")
        if work and step and tries >= TRIES:
            why = f"its process died {tries} times ({how}); was there enough memory?"
            Folder(self._root).append(work.unit, FailureRecord(step=step, why=why))
            self._tell(work.unit, Ended(step, 0, failed=True))
            work = Work(work.unit, work.left_out | {step})
        if work:
            self._waiting.appendleft(work)
        if self._waiting and not self._is_late():
            self._start()

    def _is_left(self, work: Work, ended: Ended) -> bool:
        """Return whether something of a unit is still to be done when a step of it has ended."""
        if ended.step == ATTACK and ended.failed:
            return False
        later = work.unit.steps[work.unit.steps.index(ended.step) + 1 :]
        finished = Folder(self._root).finished(work.unit)
        return any(step not in finished and step not in work.left_out for step in later)

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hear Ctrl-C and SIGTERM only after, and let a process started meanwhile never hear Ctrl-C, which goes to all.

    The parent, which hears it after, ends that process. A blocked signal stays blocked in what is started, where a
    handler would not stay.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # it unblocks the signal when it is started
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: caught.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        if caught:
            signal.raise_signal(caught[0])


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes started meanwhile compute with one thread: libraries read these when they are loaded."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, root: Path, device: str) -> None:
    """Do one unit after another, as told through the connection. Runs in a process of its own."""
    import cv2
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    folder = Folder(root)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            connection.send(Idle())
            work: Work = connection.recv()
            try:
                for message in perform(work.unit, folder, device, work.left_out):
                    connection.send(message)
            except NotKeptError as error:
                connection.send(Stuck(str(error)))
                return


def _end_with_parent() -> None:
    """Nobody would read what we send, and the next run of the study must find itself alone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
