"""A whole service on this machine, whose parts can be killed, stopped and started one by one."""

import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np
from redis import Redis

from app.command.parts import Part, free_port, service_parts
from app.guard.access import KEYS_FILE
from app.guard.keys import new_key, write_file
from workers.recovery.survey import Survey
from workers.settings import WorkerSettings
from workers.state.broker import BROKER_ERRORS
from workers.state.keys import job_keys
from workers.state.queue import JobQueue
from workers.state.record import JobRecord
from workers.state.store import Store

POLL_SECONDS = 0.05
QUIET = {
    "PURIFIQA_DEFAULT_METRICS": "", "PURIFIQA_DEFAULT_DEFENSE": "none", "PURIFIQA_LOG_LEVEL": "WARNING",
    "PURIFIQA_REUSE_RESULTS": "false",  # every order is work
}  # fmt: skip


@dataclass
class Result:
    """One row of the table."""

    trial: str
    must_hold: str
    held: bool
    measured: dict[str, Any] = field(default_factory=dict)


class Site:
    """The parts of a service, and what a client and an operator can see of it."""

    def __init__(self, folder: Path, parts: list[Part], url: str, broker: Path, settings: WorkerSettings) -> None:
        self.folder, self.url, self.settings = folder, url, settings
        self.broker, *self.workers, self.api = parts
        self.down: set[str] = set()
        self.queue = JobQueue(settings)
        self.store = Store(settings.data_dir)
        self.redis = Redis.from_url(f"unix://{broker}")
        self.http = httpx2.Client(base_url=url, timeout=60)
        self.keys: dict[str, dict[str, str]] = {}
        self.starts = 0

    @property
    def parts(self) -> list[Part]:
        """All parts, the broker first."""
        return [self.broker, *self.workers, self.api]

    def tend(self) -> None:
        """Start again what has died, as a supervisor would; what is `down` stays down."""
        for part in self.parts:
            if part.name not in self.down and not part.is_running:
                part.quick_deaths = 0
                part.start()
                self.starts += 1

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Tend the service until the condition holds. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while True:
            self.tend()
            with contextlib.suppress(*BROKER_ERRORS, httpx2.HTTPError):
                if condition():
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {seconds} s")
            time.sleep(POLL_SECONDS)

    def is_ready(self) -> bool:
        """Return whether the service says that it is."""
        return self.http.get("/readyz").status_code == httpx2.codes.OK

    def broker_uptime(self) -> int:
        """Return for how many seconds the broker has run."""
        return Survey(self.redis).broker().uptime

    def kill(self, part: Part) -> None:
        """Kill a part as the kernel would, and see it dead."""
        if part.process is not None:
            part.process.kill()
            part.process.wait()

    def send(self, image: bytes, *, path: str = "/purify", **fields: Any) -> httpx2.Response:
        """Order something; no metrics unless asked for."""
        return self.http.post(
            path, files={"image": ("x.png", image)}, data={"metrics": "", **{k: str(v) for k, v in fields.items()}}
        )

    def records(self, job_ids: Iterable[str]) -> list[JobRecord]:
        """Return the records of these jobs, as they stand."""
        return [self.queue.ledger.get(job_id) for job_id in job_ids]

    def ready_workers(self) -> list[Part]:
        """Return the workers that run and have said that they are ready."""
        names = self.queue.presence.workers()
        pids = {name.split("-")[-2] for name in names}
        return [part for part in self.workers if part.is_running and part.process and str(part.process.pid) in pids]

    def job_of(self, worker: Part) -> JobRecord | None:
        """Return the job that a worker process holds now."""
        pid = worker.process.pid if worker.process else 0
        for job_id in Survey(self.queue.broker.connection).open_jobs():
            lease: Any = self.redis.get(job_keys(job_id).lease)
            if lease and lease.decode().rpartition("@")[0].split("-")[-2] == str(pid):
                return self.queue.ledger.get(job_id)
        return None


@contextmanager
def site(workers: int = 2, code: str = "", keys: Sequence[str] = (), **settings: Any) -> Iterator[Site]:
    """Run a service; `code` is Python that the workers run instead of ours, `keys` the names of API keys, if any."""
    with tempfile.TemporaryDirectory(prefix="purifiqa-chaos-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port("127.0.0.1")
        broker = folder / "valkey.sock"
        made = {name: new_key(name) for name in keys}
        if made:
            write_file(folder / KEYS_FILE, [stored for _, stored in made.values()])
        parts = service_parts(broker, folder, "127.0.0.1", port, workers)
        wanted = {f"PURIFIQA_{key.upper()}": str(value) for key, value in settings.items()}
        for part in parts:
            part.environment |= {**QUIET, **wanted}
            if code and part.name.startswith("worker"):
                part.command = [sys.executable, "-P", "-c", code]
        ours = Site(
            folder,
            parts,
            f"http://127.0.0.1:{port}",
            broker,
            WorkerSettings(redis_url=f"unix://{broker}", data_dir=folder, **settings),
        )
        ours.keys = {name: {"Authorization": f"Bearer {key}"} for name, (key, _) in made.items()}
        try:
            for part in parts:
                part.start()
            ours.until(ours.is_ready, 120, "the service is ready")
            yield ours
        finally:
            ours.http.close()
            ours.redis.close()
            ours.queue.broker.connection.close()
            for part in reversed(parts):
                if part.process is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(part.process.pid, signal.SIGCONT)
                    part.stop(at_once=part is not parts[0])


def photo(width: int = 256, height: int = 192, seed: int = 0) -> bytes:
    """Return a PNG, photo-like in detail."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    shade = np.stack([128 + 90 * np.sin(x / 60), 110 + 80 * np.cos(y / 45), 60 + 0.3 * x], axis=-1)
    grain = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 40, shade.shape), (0, 0), 1.5)
    image = np.clip(shade + grain, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".png", image)[1].tobytes())


def percentile(values: list[float], percent: int) -> float:
    """Return the `percent`-th percentile, by the nearest rank above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def rng(seed: int) -> random.Random:
    """Return a source of moments that can be repeated."""
    return random.Random(seed)
