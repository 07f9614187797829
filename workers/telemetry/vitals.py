"""What this worker process is doing: for the API's metrics, for whoever watches the container, for logs and traces."""

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from workers.state.record import JobRecord
from workers.telemetry import logs, tracing

State = Literal["busy", "idle", "stuck"]
Perform = TypeVar("Perform", bound=Callable[..., None])

IDLE_PATIENCE_SECONDS = 120.0
GRACE_SECONDS = 60.0  # for whatever ends a job that runs too long


class Facts(BaseModel):
    """A worker as it stands, told with every beat of its pulse."""

    state: State = "idle"
    device: str = "cpu"
    gpu: str = ""
    gpu_bytes: int = 0


class Vitals:
    """One per process. The main thread writes, the thread of the pulse reads."""

    def __init__(self) -> None:
        self._busy = False
        self._deadline = time.monotonic() + IDLE_PATIENCE_SECONDS
        self._around = ExitStack()

    def tick(self) -> None:
        """Say that the main thread is not stuck: it looks for a job."""
        self.allow(IDLE_PATIENCE_SECONDS)

    def allow(self, seconds: float) -> None:
        """Say that the main thread may be busy for so long before it looks for a job again."""
        self._deadline = time.monotonic() + seconds

    @property
    def deadline(self) -> float:
        """When the main thread is stuck unless it has moved on by then, in seconds of `time.monotonic`."""
        return self._deadline

    def facts(self, device: str) -> Facts:
        """Return this process as it stands."""
        state: State = "stuck" if time.monotonic() > self._deadline else "busy" if self._busy else "idle"
        if device == "cpu":
            return Facts(state=state)
        import torch

        gpu = torch.cuda.get_device_properties(device)
        return Facts(state=state, device="cuda", gpu=f"GPU-{gpu.uuid}", gpu_bytes=torch.cuda.memory_reserved(device))

    def begin(self, record: JobRecord, limit: float) -> None:
        """Say which job the function decorated by `one_job` does, and how many seconds it may take."""
        self.allow(limit + GRACE_SECONDS)
        origin = record.origin
        self._around.enter_context(
            logs.bind(
                job_id=record.id, request_id=origin.request_id, owner=origin.owner,
                trace_id=tracing.trace_id(origin.traceparent),
            )
        )  # fmt: skip
        self._around.enter_context(tracing.job_span(record, time.time()))


HERE = Vitals()


def one_job(perform: Perform) -> Perform:
    """Decorate the function that performs a job: this process is busy meanwhile, and its lines tell of which job."""

    @functools.wraps(perform)
    def watched(job_id: str, *args: Any, **kwargs: Any) -> None:
        with ExitStack() as around:
            HERE._busy, HERE._around = True, around  # noqa: SLF001
            try:
                around.enter_context(logs.bind(job_id=job_id))
                perform(job_id, *args, **kwargs)
            finally:
                HERE._busy = False  # noqa: SLF001
                HERE.tick()

    return watched  # type: ignore[return-value]
