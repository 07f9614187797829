"""Everything on one machine: an embedded Valkey, the API and warm workers, started, watched and stopped together."""

import contextlib
import fcntl
import logging
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from app.command.health import address_of, what_is_wrong
from app.command.parts import STOP_SECONDS, Part, StartError, check_address, free_port, service_parts

log = logging.getLogger("purifiqa.up")

READY_SECONDS = 300
"""Cold disks and busy machines take a minute; what cannot start ends long before."""
POLL_SECONDS = 0.2
LONGEST_SOCKET_FOLDER = 90
WORKER_GRACE_SECONDS = 150.0  # longer than a job with a cheap defense may run
GIVE_BACK_SECONDS = 5.0  # that a worker which is told again may take until it has given its job back


@dataclass
class Supervisor:
    """Runs the whole service in the foreground. `run` returns when it has been told to stop and everything is gone."""

    host: str
    port: int
    data_dir: Path
    workers: int
    stopping: int = field(default=0, init=False)

    def run(self) -> None:
        """Start, announce the address, watch, stop. Raises StartError."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it: the terminal may close
            signal.signal(signal.SIGHUP, self._on_signal)
        with self._locked(), tempfile.TemporaryDirectory(prefix="purifiqa-") as folder:
            check_address(self.host, self.port, "choose another --host or --port")
            self.port = self.port or free_port(self.host)
            if len(folder) > LONGEST_SOCKET_FOLDER:
                raise StartError(f"{folder} is too long a path for a socket; set TMPDIR to a shorter one")
            parts = service_parts(Path(folder) / "valkey.sock", self.data_dir, self.host, self.port, self.workers)
            try:
                for part in parts:
                    part.start()
                if self._wait_until_ready(parts):
                    print(f"PurifIQA is ready at {self.address} (Ctrl-C stops it)", flush=True)
                    for part in parts:
                        part.has_worked = True
                while not self.stopping:
                    for part in parts:
                        part.revive()
                    time.sleep(POLL_SECONDS)
            finally:
                self._stop(parts)

    @property
    def address(self) -> str:
        """The URL of the service, as reached from this machine."""
        return address_of(self.host, self.port)

    def _on_signal(self, number: int, _frame: object) -> None:
        self.stopping += 1
        if self.stopping == 1:
            log.info(
                "stopping once the running jobs are finished (%s again: stop at once)", signal.Signals(number).name
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(f"the data folder {self.data_dir} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"another PurifIQA is already using {self.data_dir}; give this one its own --data-dir"
            ) from error
        try:
            yield
        finally:
            os.close(handle)

    def _wait_until_ready(self, parts: list[Part]) -> bool:
        deadline, lacking = time.monotonic() + READY_SECONDS, "the API does not answer"
        while not self.stopping:
            with contextlib.suppress(httpx2.HTTPError):
                answer = httpx2.get(f"{self.address}/readyz", timeout=2, trust_env=False)  # no proxy leads here
                if answer.status_code == httpx2.codes.OK:
                    return True
                lacking = what_is_wrong(answer, self.address)
            if time.monotonic() > deadline:
                raise StartError(f"the service was not ready within {READY_SECONDS} s: {lacking}; see the log above")
            for part in parts:
                part.revive()
            time.sleep(POLL_SECONDS)
        return False

    def _stop(self, parts: list[Part]) -> None:
        """The API first, so that nothing new comes in; the workers together; the broker last."""
        *rest, api = parts
        broker, *workers = rest
        self._end([api], _api_grace(), at_once=STOP_SECONDS)
        self._end(workers, _worker_grace(), at_once=GIVE_BACK_SECONDS)
        broker.stop()

    def _end(self, parts: list[Part], grace: float, at_once: float) -> None:
        """Tell parts to stop, after `grace` seconds or a second Ctrl-C again, and kill what is there `at_once` later.

        Told again, an API answers no longer than it must, and a worker gives its job back, which costs the job none of
        its tries.
        """
        for part in parts:
            part.ask_to_stop()
        self._wait_for(parts, grace, told=2)
        for part in parts:
            part.ask_to_stop()
        self._wait_for(parts, at_once, told=3)
        for part in parts:
            part.stop(at_once=True)

    def _wait_for(self, parts: list[Part], seconds: float, told: int) -> None:
        """Wait until the parts have ended, for so long at most, or until told so often to stop."""
        deadline = time.monotonic() + seconds
        while any(part.is_running for part in parts) and self.stopping < told and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def _api_grace() -> float:
    """Return how long the API may take to end: longer than it goes on answering, as the operator sets it."""
    return _set_seconds("PURIFIQA_DRAIN_SECONDS") + STOP_SECONDS


def _worker_grace() -> float:
    """Return how long workers may take to end: longer than they may go on with their jobs, as the operator sets it."""
    return max(WORKER_GRACE_SECONDS, _set_seconds("PURIFIQA_STOP_GRACE") + 30)


def _set_seconds(variable: str) -> float:
    try:
        return float(os.environ.get(variable) or 0)
    except ValueError:  # no process has started with that
        return 0
