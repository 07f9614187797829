"""The warm worker: one process that loads models once and performs job after job."""

import contextlib
import functools
import gc
import logging
import os
import socket
import time

import cv2
import torch

from models.checkpoints import CheckpointError
from models.defense import DefenseUnavailableError, PurificationError
from models.defenses import parse_defense
from models.images import ImageError, ImageFormat, encode
from models.metric import MetricError, MetricUnavailableError, UnsuitableSizeError
from models.metrics import find_metric
from workers import tracing, vitals
from workers.jobs import Kind, Order, execute
from workers.ledger import BROKER_ERRORS, JobCanceledError
from workers.measures import MODEL_LOAD_SECONDS
from workers.pulse import Pulse
from workers.queue import JobQueue, TimeLimitError, tries_left
from workers.record import Failure, JobRecord
from workers.settings import WorkerSettings
from workers.store import Store

log = logging.getLogger("purifiqa.worker")

PROGRESS_SECONDS = 0.2
ORPHAN_SECONDS = 600


class Context:
    """What a process needs to perform jobs, made once."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.queue = JobQueue(settings, patient=True)
        self.store = Store(settings.data_dir)
        self.device = pick_device(settings.device)


@functools.cache
def context() -> Context:
    """Return this process's context, from the environment."""
    return Context(WorkerSettings())


def pick_device(wish: str) -> str:
    """Return the torch device for `auto`, `cpu` or `cuda`. Raises ValueError when CUDA is asked for and absent."""
    if wish == "cuda" and not torch.cuda.is_available():
        raise ValueError("PURIFIQA_DEVICE=cuda, but torch finds no CUDA device")
    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wish


@vitals.one_job
def perform(job_id: str) -> None:
    """Perform one job. RQ calls this by its name; it raises only what another try may cure."""
    here = context()
    try:
        record = here.queue.start(job_id)
    except (JobCanceledError, LookupError):
        return
    vitals.HERE.begin(record, here.queue.time_limit(record.order))
    try:
        try:
            _carry_out(here, record)
        except JobCanceledError:
            raise
        except Exception as error:
            failure = explain(error)
            if failure is None and tries_left() > 0:
                here.queue.requeue(job_id)
                raise
            if failure is None:
                log.exception("job failed unexpectedly")
                failure = Failure(code="internal-error", detail="The job failed inside the service.")
            here.queue.fail(record, failure)
            tracing.failed(failure.code)
            log.info("job failed", extra={**_facts(record), "outcome": "failed", "code": failure.code})
    except JobCanceledError:
        if not here.queue.exists(job_id):
            here.store.erase(job_id)


def _carry_out(here: Context, record: JobRecord) -> None:
    begun = time.time()
    report, file = execute(
        record.order,
        _read_input(here, record.id),
        limits=here.settings.limits,
        device=here.device,
        progress=_Throttled(here.queue, record.id),
    )
    if file is not None and report.image is not None:
        digest = here.store.put(record.id, "output", file)
        report = report.model_copy(update={"image": report.image.model_copy(update={"sha256": digest})})
    waited, ran = begun - record.created, time.time() - begun
    timings = {"queued": round(waited * 1000, 3), **report.timings_ms, "total": round((waited + ran) * 1000, 3)}
    here.queue.finish(record, report.model_copy(update={"timings_ms": timings}))
    times = {"queued_ms": round(waited * 1000, 3), "run_ms": round(ran * 1000, 3)}
    log.info("job finished", extra={**_facts(record), **times, "outcome": "finished"})


def _facts(record: JobRecord) -> dict[str, str]:
    return {"kind": str(record.order.kind), "defense": record.order.defense.name}


class InputLostError(RuntimeError):
    """The store no longer holds the image of a job."""


def _read_input(here: Context, job_id: str) -> bytes:
    try:
        return here.store.read(job_id, "input")
    except FileNotFoundError as error:
        raise InputLostError(job_id) from error


def explain(error: Exception) -> Failure | None:
    """Return what to tell the sender about an expected failure; None for one that another try may cure."""
    match error:
        case ImageError():
            return Failure(code=error.code, detail=str(error), status=422)
        case UnsuitableSizeError():
            return Failure(code="image-size-unsuitable", detail=str(error), status=422)
        case MetricUnavailableError():
            return Failure(code="metric-unavailable", detail=str(error), status=409)
        case DefenseUnavailableError() | CheckpointError():
            return Failure(code="defense-unavailable", detail=str(error), status=409)
        case MetricError():
            return Failure(code="metric-failed", detail=str(error))
        case PurificationError():
            return Failure(code="purification-failed", detail=str(error))
        case TimeLimitError():
            return Failure(code="time-limit", detail="The job ran longer than a job with this defense may.")
        case InputLostError():
            return Failure(code="input-lost", detail="The image is no longer in the store.")
        case _:
            return None


class _Throttled:
    """Report progress, and learn of a cancel, a few times per second at most."""

    def __init__(self, queue: JobQueue, job_id: str) -> None:
        self._queue, self._job_id, self._last = queue, job_id, time.monotonic()

    def __call__(self, fraction: float) -> None:
        if time.monotonic() - self._last >= PROGRESS_SECONDS:
            self._last = time.monotonic()
            with contextlib.suppress(*BROKER_ERRORS):  # progress is only news
                self._queue.progress(self._job_id, fraction)


def serve() -> None:
    """Warm up, say that this worker is ready, and perform jobs until SIGTERM or SIGINT.

    Raises ValueError for settings that cannot work, BROKER_ERRORS when Redis is not there.
    """
    here = context()
    here.queue.ping()
    torch.set_num_threads(here.settings.threads)
    cv2.setNumThreads(here.settings.threads)
    here.store.open()
    start = time.perf_counter()
    warm_up(here)
    here.queue.observations.observe(MODEL_LOAD_SECONDS, time.perf_counter() - start)
    gc.freeze()  # the libraries' million objects are here to stay: looking through them again costs every job
    name = f"{socket.gethostname()}-{os.getpid()}"
    pulse = Pulse(
        lambda: here.queue.beat(name, vitals.HERE.facts(here.device).model_dump_json()),
        lambda: vitals.HERE.deadline,
    )
    vitals.HERE.tick()
    pulse.start()
    log.info("worker is ready", extra={"worker": name, "device": here.device})
    try:
        here.queue.consume(name, functools.partial(sweep, here))
    finally:
        gc.unfreeze()
        pulse.stop()
        here.queue.leave(name)


def warm_up(here: Context) -> None:
    """Load what the default request needs, so that the first job is as fast as the second."""
    names = here.settings.default_metric_names
    ready = tuple(name for name in names if find_metric(name).availability().available)
    for name in set(names) - set(ready):
        log.warning("the default metric %s is not available: %s", name, find_metric(name).availability().reason)
    ramp = torch.linspace(0, 1, 256).expand(1, 3, 256, 256).contiguous()
    order = Order(kind=Kind.PURIFY, defense=parse_defense(here.settings.default_defense), metrics=ready)
    execute(order, encode(ramp, ImageFormat.PNG), device=here.device)


def sweep(here: Context) -> None:
    """Remove the files of jobs whose records are gone."""
    for owner in list(here.store.owners(min_age_seconds=ORPHAN_SECONDS)):
        if not here.queue.exists(owner):
            here.store.erase(owner)
    here.store.prune()
    here.queue.note_store(*here.store.usage())
