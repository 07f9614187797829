"""The pulse of a worker: a lease in Redis for the API, and a file's age for whoever watches the container."""

import contextlib
import logging
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("purifiqa.worker")

LEASE_SECONDS = 15
FRESH_SECONDS = 2 * LEASE_SECONDS
_PATTERN = "purifiqa-worker-*.alive"
_BEING_WRITTEN = "purifiqa-worker-*.partial"


def _folder() -> Path:
    return Path(tempfile.gettempdir())


def last_beat() -> float:
    """Return when a worker on this machine last said that it is alive, in seconds since the epoch; 0: never."""
    return max((_last_touched(file) for file in _folder().glob(_PATTERN)), default=0.0)


def stuck_workers() -> list[int]:
    """Return the process ids of workers on this machine that say they are alive but do not move on."""
    fresh, stuck = time.time() - FRESH_SECONDS, []
    for file in _folder().glob(_PATTERN):
        with contextlib.suppress(FileNotFoundError, ValueError):  # just ended; not of ours
            if file.stat().st_mtime > fresh and float(file.read_text()) < time.monotonic():
                stuck.append(int(file.stem.rpartition("-")[2]))
    return sorted(stuck)


def _last_touched(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # its worker has just ended
        return 0.0


class Pulse:
    """Calls `beat` from a thread, a few times per lease, from `start` to `stop`."""

    def __init__(self, beat: Callable[[], None], deadline: Callable[[], float] = lambda: math.inf) -> None:
        """`deadline` tells when the process is stuck unless it has moved on by then, in seconds of `time.monotonic`."""
        self._beat, self._deadline = beat, deadline
        self._file = _folder() / _PATTERN.replace("*", str(os.getpid()))
        self._partial = _folder() / _BEING_WRITTEN.replace("*", str(os.getpid()))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin; sweep what killed workers left."""
        for file in (*_folder().glob(_PATTERN), *_folder().glob(_BEING_WRITTEN)):
            if _last_touched(file) < time.time() - FRESH_SECONDS:
                file.unlink(missing_ok=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and leave no file."""
        self._stopping.set()
        self._thread.join(timeout=2)
        self._file.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._beat()
                self._partial.write_text(str(self._deadline()))
                self._partial.replace(self._file)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next beat may succeed
                log.warning("cannot report that this worker is alive: %s", error)
            self._stopping.wait(LEASE_SECONDS / 3)
