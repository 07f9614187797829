"""The warm worker: one process that loads models once and performs job after job."""

import contextlib
import faulthandler
import functools
import gc
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator

import cv2
import torch

from models.cancellation import cancellable
from models.images import ImageFormat, encode
from workers.defaults import check_defaults, usable_defaults
from workers.jobs import execute
from workers.orders import DefenseOrder, Kind
from workers.process.batch import Batcher, is_device_lost, room_for
from workers.process.consumer import consume, lift_time_limit
from workers.process.failures import InputLostError, explain, given_up
from workers.process.lease import Hold, Keeper
from workers.process.memory import give_back, resident_megabytes
from workers.process.stopping import StoppedError, Stopping
from workers.recovery.reconciler import Reconciler
from workers.settings import WorkerSettings
from workers.state.answers import implementation
from workers.state.broker import BROKER_ERRORS, Broker
from workers.state.ledger import JobCanceledError, Ledger
from workers.state.manifest import close_manifest, read_manifest
from workers.state.measures import MODEL_LOAD_SECONDS
from workers.state.pulse import Pulse
from workers.state.queue import JobQueue
from workers.state.record import MOST_SETBACKS, JobRecord, Status
from workers.state.store import Store
from workers.telemetry import tracing, vitals
from workers.together import Outcome

log = logging.getLogger("purifiqa.worker")

HARD_LIMIT_GRACE = 10
"""Seconds beyond the time limit after which a process that is stuck in a C call ends."""
RETRY_SECONDS = 0.5


class Context:
    """What a process needs to perform jobs, made once."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Raise ValueError for settings that cannot work, OSError where the store cannot be used."""
        check_defaults(settings)
        self.settings = settings
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self.queue = JobQueue(settings, patient=True)
        self.store = Store(settings.data_dir)
        self.store.open()
        self.device = pick_device(settings.device)
        self.stopping = Stopping(settings.stop_grace)
        self.keeper = Keeper(Ledger(Broker(settings), settings, self.queue.presence.observations), self.name)
        self.performed = 0
        self.room = room_for(settings.batch_pixels, self.device)
        self.batcher = Batcher(
            self.queue, self.store, self.keeper, self.stopping,
            room=self.room, device=self.device, limits=settings.limits, hard_limit=_hard_limit,
        )  # fmt: skip


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
def perform(job_id: str, placement: int) -> None:
    """Perform one job, once. RQ calls this by its name."""
    here = context()
    begun, ledger = here.batcher.pop(job_id, placement), here.queue.ledger
    try:
        record = begun.record if begun else ledger.start(job_id, placement=placement, holder=here.keeper.holder)
    except (JobCanceledError, LookupError):
        return
    vitals.HERE.begin(record, ledger.time_limit(record.order))
    try:
        with here.keeper.hold(record) as hold, _hard_limit(ledger.time_limit(record.order)):
            _try(here, record, hold, begun.outcome if begun else None)
    except JobCanceledError:
        if read_manifest(here.store, job_id) is None and not ledger.exists(job_id):
            here.store.erase(job_id)
    finally:
        here.performed += 1
        _retire_if_old(here)


def _try(here: Context, record: JobRecord, hold: Hold, outcome: Outcome | None) -> None:
    try:
        _carry_out(here, record, hold, outcome)
    except (JobCanceledError, *BROKER_ERRORS):
        raise
    except StoppedError:
        log.info("job was requeued: this worker has to stop")
        _insist(here, functools.partial(here.queue.put_back, record, in_hand=True))
    except Exception as error:
        failure = explain(error)
        if failure is None:
            log.exception("job failed unexpectedly")
            if is_device_lost(error):
                here.stopping.retire()
            if record.setbacks + 1 < MOST_SETBACKS:
                setbacks = record.setbacks + 1
                again = functools.partial(here.queue.put_back, record, front=False, setbacks=setbacks, in_hand=True)
                _insist(here, again)
                return
            failure = given_up(error)
        _insist(here, functools.partial(here.queue.fail, record, failure))
        close_manifest(here.store, _ended(record, Status.FAILED, failure=failure))
        tracing.failed(failure.code)
        log.info("job failed", extra={**record.order.names, "outcome": "failed", "code": failure.code})


def _carry_out(here: Context, record: JobRecord, hold: Hold, outcome: Outcome | None) -> None:
    begun = record.started or time.time()

    def check() -> None:
        hold.check()
        if here.stopping.is_due:
            raise StoppedError

    def report_progress(fraction: float) -> None:
        hold.report(fraction)
        check()

    with cancellable(check):
        report, file = execute(
            record.order,
            _read_input(here, record.id),
            limits=here.settings.limits,
            device=here.device,
            progress=report_progress,
            room=here.room,
            outcome=outcome,
        )
    if file is not None and report.image is not None:
        digest = _put_output(here, record.id, file)
        report = report.model_copy(update={"image": report.image.model_copy(update={"sha256": digest})})
    waited, ran = begun - record.created, time.time() - begun
    timings = {"queued": round(waited * 1000, 3), **report.timings_ms, "total": round((waited + ran) * 1000, 3)}
    report = report.model_copy(update={"timings_ms": timings})
    _insist(here, functools.partial(here.queue.finish, record, report))
    close_manifest(here.store, _ended(record, Status.FINISHED, report=report))
    times = {"queued_ms": round(waited * 1000, 3), "run_ms": round(ran * 1000, 3)}
    log.info("job finished", extra={**record.order.names, **times, "outcome": "finished"})


def _put_output(here: Context, job_id: str, file: bytes) -> str:
    try:
        return here.store.put(job_id, "output", file)
    except OSError as error:
        if here.queue.ledger.exists(job_id):
            raise
        raise JobCanceledError(job_id) from error  # erased, and its folder with it, at this moment


def _ended(record: JobRecord, status: Status, **how: object) -> JobRecord:
    return record.model_copy(update={"status": status, "ended": time.time(), **how})


def _insist(here: Context, change: Callable[[], object]) -> None:
    """Change a record however long the broker is away: what has been computed must not be lost to that."""
    lift_time_limit()  # it is for what is computed
    faulthandler.cancel_dump_traceback_later()
    while True:
        try:
            change()
        except BROKER_ERRORS as error:
            if here.stopping.is_due:
                raise
            log.warning("a job has ended, but its end cannot be written to Redis: %s", error)
            vitals.HERE.tick()
            time.sleep(RETRY_SECONDS)
        else:
            return


@contextlib.contextmanager
def _hard_limit(seconds: int) -> Iterator[None]:
    """End this process, with its stacks in the log, if the job is stuck where no exception reaches it."""
    faulthandler.dump_traceback_later(seconds + HARD_LIMIT_GRACE, exit=True, file=sys.__stderr__ or 2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _retire_if_old(here: Context) -> None:
    settings = here.settings
    if settings.max_jobs and here.performed >= settings.max_jobs:
        log.info("this worker exits after %d jobs", here.performed)
        here.stopping.retire()
    elif settings.max_memory and (memory := _held(settings.max_memory)) > settings.max_memory:
        log.info("this worker exits because it holds %d MB of memory", memory)
        here.stopping.retire()


def _held(most: int) -> int:
    """Return how many MB this process holds; if they are more than `most`, without what it need not hold."""
    if resident_megabytes() > most:
        give_back()
    return resident_megabytes()


def _read_input(here: Context, job_id: str) -> bytes:
    try:
        return here.store.read(job_id, "input")
    except FileNotFoundError as error:
        raise InputLostError(job_id) from error


def serve() -> None:
    """Warm up, say that this worker is ready, and perform jobs until SIGTERM or SIGINT.

    Raises ValueError or OSError for settings that cannot work, BROKER_ERRORS when Redis is not there.
    """
    here = context()
    here.queue.broker.ping()
    torch.set_num_threads(here.settings.threads)
    cv2.setNumThreads(here.settings.threads)
    start = time.perf_counter()
    warm_up(here)
    implementation()  # now, so that the first job need not wait for it
    here.queue.presence.observations.observe(MODEL_LOAD_SECONDS, time.perf_counter() - start)
    gc.freeze()  # the libraries' million objects are here to stay: looking through them again costs every job
    pulse = Pulse(
        lambda: here.queue.presence.beat(here.name, vitals.HERE.facts(here.device).model_dump_json()),
        lambda: vitals.HERE.deadline,
    )
    vitals.HERE.tick()
    pulse.start()
    reconciler = Reconciler(JobQueue(here.settings), here.store, here.name, here.settings.lease)
    reconciler.start()
    log.info("worker is ready", extra={"worker": here.name, "device": here.device})
    try:
        consume(here.settings.broker_url(), here.name, here.stopping, here.batcher.batch if here.room else None)
    finally:
        gc.unfreeze()
        reconciler.stop()
        pulse.stop()
        with contextlib.suppress(*BROKER_ERRORS):  # then its lease just runs out
            here.queue.presence.leave(here.name)


def warm_up(here: Context) -> None:
    """Load what the default request needs, so that the first job is as fast as the second."""
    defense, metrics = usable_defaults(here.settings)
    ramp = torch.linspace(0, 1, 256).expand(1, 3, 256, 256).contiguous()
    order = DefenseOrder(kind=Kind.PURIFY, defense=defense, metrics=metrics)
    execute(order, encode(ramp, ImageFormat.PNG), device=here.device)
