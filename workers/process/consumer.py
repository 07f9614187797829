"""The worker's side of RQ: take an entry, perform it in this process, and go on through outages of the broker."""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

from redis import Redis
from rq import Queue, SimpleWorker
from rq.exceptions import NoSuchJobError, StopRequested
from rq.job import Job
from rq.timeouts import JobTimeoutException

from workers.process.memory import give_back
from workers.process.stopping import Stopping
from workers.state.broker import BROKER_ERRORS
from workers.state.entries import ENTRY, RQ_QUEUE, entry_id
from workers.telemetry import vitals

log = logging.getLogger("purifiqa.worker")

TimeLimitError = JobTimeoutException
"""The job ran longer than its cost class may."""

HEARTBEAT_SECONDS = 30
WAIT_SECONDS = 1  # for a job, before looking whether to stop
IDLE_AFTER = 3  # such looks without a job: a second or two
LONGEST_PAUSE_SECONDS = 2.0  # between two tries to reach a broker that is away


Gather = Callable[[str, int], AbstractContextManager[Iterator[str]]]
"""Given a job's id and placement, yields the entries of those that are to be performed after it."""


def consume(broker_url: str, name: str, stopping: Stopping, gather: Gather | None = None) -> None:
    """Take jobs and perform them in this process until told to stop; the current one is still finished.

    `gather` may take more jobs together with one that was taken. A broker that is away is waited for, however long.
    """
    pause = 0.1
    while not stopping.requested:
        try:
            connection = Redis.from_url(broker_url, socket_connect_timeout=2)
            consumer = Consumer(
                [RQ_QUEUE], name=name, connection=connection, serializer="json", log_job_description=False
            )
            consumer.stopping, consumer.gather = stopping, gather
            if consumer.work(logging_level="WARNING"):
                pause = 0.1
        except BROKER_ERRORS as error:
            log.warning("the queue cannot be reached: %s", error)
        if not stopping.requested:  # RQ gave up: the broker was away at a bad moment
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def lift_time_limit() -> None:
    """Let the job that RQ performs in this process take as long as it needs from now on."""
    signal.alarm(0)


class OurJob(Job):
    """An entry of ours: anything else in the queue does not exist, whoever put it there."""

    def restore(self, raw_data: Any) -> None:
        try:
            super().restore(raw_data)
            ours = self._is_ours()
        except Exception as error:  # whoever planted it may have written anything
            raise NoSuchJobError(self.id) from error
        if not ours:
            log.error("refused queue entry %s: PurifIQA did not make it", self.id)
            raise NoSuchJobError(self.id)

    def perform(self) -> Any:
        if not self._is_ours():
            raise NoSuchJobError(self.id)
        return super().perform()

    def _is_ours(self) -> bool:
        callbacks = (self._success_callback_name, self._failure_callback_name, self._stopped_callback_name)
        return (
            self.func_name == ENTRY
            and self.instance is None
            and not self.kwargs
            and [type(argument) for argument in self.args] == [str, int]
            and entry_id(*self.args) == self.id
            and not any(callbacks)
            and not self.webhooks
        )


class Consumer(SimpleWorker):
    """RQ's in-process worker: no fork per job, so models stay loaded. RQ's own recovery never runs."""

    job_class = OurJob
    max_connection_wait_time = LONGEST_PAUSE_SECONDS
    stopping = Stopping(0)
    gather: Gather | None = None
    _last_beat = -math.inf
    _looks = 0

    def request_stop(self, signum: int, frame: Any) -> None:
        # RQ would stop an idle worker at once, also one that has just taken a job and not yet said so; asked twice, it
        # would raise SystemExit wherever the job is.
        self.stopping.request()

    def subscribe(self) -> None:
        # RQ takes orders from a channel: to kill a job or itself. Ours are in the records.
        pass

    def register_birth(self) -> None:
        self.connection.delete(self.key)  # left by this process when the broker went away
        super().register_birth()  # type: ignore[no-untyped-call]

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        # RQ beats five times per job, fifteen commands; its registration of a worker lasts eight minutes.
        if pipeline is not None or time.monotonic() - self._last_beat > HEARTBEAT_SECONDS:
            self._last_beat = time.monotonic()
            super().heartbeat(timeout, pipeline)

    def execute_job(self, job: Job, queue: Queue) -> None:
        self._looks = 0
        if self.gather is None:
            super().execute_job(job, queue)
            return
        with self.gather(*job.args) as companions:
            super().execute_job(job, queue)
            for entry in companions:
                with suppress(NoSuchJobError):
                    companion = self.job_class.fetch(entry, connection=self.connection, serializer=self.serializer)
                    super().execute_job(companion, queue)

    @property
    def dequeue_timeout(self) -> int:
        return WAIT_SECONDS

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """RQ asks this before each wait for a job: the one moment at which this worker surely has none."""
        vitals.HERE.tick()
        if self.stopping.requested:
            raise StopRequested
        self._looks += 1
        if self._looks == IDLE_AFTER:
            give_back()
        return False

    def set_state(self, state: str, pipeline: Any = None) -> None:
        # Idle or busy is told with the rest of a job's bookkeeping, or not at all: nobody asks.
        if pipeline is None:
            self._state = state
        else:
            super().set_state(state, pipeline)
