"""RQ promises no stability: every method, argument and behavior of it that we rely on is held here."""

import importlib.metadata
import inspect
import sys
import tomllib
from pathlib import Path

import pytest
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.timeouts import JobTimeoutException

from workers.process import consumer as ours
from workers.process.stopping import Stopping


def succeed(value):
    return value


def take_too_long():
    while True:
        pass


@pytest.fixture
def rq_queue(broker):
    return Queue("contract", connection=broker, serializer="json")


def work(queue):
    worker = SimpleWorker([queue], connection=queue.connection, serializer="json", log_job_description=False)
    worker.work(burst=True, logging_level="CRITICAL")
    return worker


def here(function):
    return f"{__name__}.{function.__name__}"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """RQ imports a job's function by its path; importlib mode gives test modules no path of their own."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or inspect.getmodule(succeed))


def test_the_version_we_test_is_the_version_we_pin():
    project = tomllib.loads(Path("pyproject.toml").read_text())
    assert f"rq=={importlib.metadata.version('rq')}" in project["project"]["dependencies"]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        (Queue.__init__, {"name", "connection", "serializer"}),
        (
            Queue.enqueue_call,
            {"func", "args", "job_id", "timeout", "result_ttl", "failure_ttl", "ttl", "at_front", "pipeline"},
        ),
        (
            SimpleWorker.__init__,
            {"queues", "name", "connection", "serializer", "log_job_description"},
        ),
        (SimpleWorker.work, {"logging_level"}),
        (Job.key_for, {"job_id"}),
    ],
)
def test_the_methods_we_call_take_the_arguments_we_give(method, arguments):
    assert arguments <= set(inspect.signature(method).parameters)


def test_the_methods_we_override_take_what_rq_gives_them(rq_queue):
    for method, arguments in (
        (SimpleWorker.request_stop, ["self", "signum", "frame"]),
        (SimpleWorker.subscribe, ["self"]),
        (SimpleWorker.register_birth, ["self"]),
        (Job.restore, ["self", "raw_data"]),
        (Job.perform, ["self"]),
    ):
        assert list(inspect.signature(method).parameters) == arguments
    assert ours.Consumer([rq_queue], connection=rq_queue.connection, serializer="json").pubsub_thread is None


def test_a_worker_never_recovers_jobs_in_the_way_of_rq(rq_queue, broker):
    worker = ours.Consumer([rq_queue], connection=broker, serializer="json", name="w1")
    worker.run_maintenance_tasks = lambda: 1 / 0
    worker.work(burst=True, logging_level="CRITICAL")
    assert worker.last_cleaned_at is None


def test_a_worker_stays_registered_far_longer_than_it_waits_between_heartbeats(rq_queue, broker):
    assert list(inspect.signature(SimpleWorker.heartbeat).parameters) == ["self", "timeout", "pipeline"]
    assert list(inspect.signature(SimpleWorker.set_state).parameters) == ["self", "state", "pipeline"]
    worker = ours.Consumer([rq_queue], connection=broker, serializer="json", name="w1")
    worker.register_birth()
    worker.set_state("busy")
    assert worker.get_state() == "busy"
    worker.heartbeat()
    assert broker.ttl(worker.key) > 5 * ours.HEARTBEAT_SECONDS
    broker.expire(worker.key, 1)
    worker.heartbeat()
    assert broker.ttl(worker.key) <= 1, "not again at once"
    worker.register_death()


def test_a_worker_is_stopped_only_where_it_has_no_job(rq_queue, broker, caplog):
    for name in ("should_run_maintenance_tasks", "dequeue_timeout", "StopRequested"):
        assert name in inspect.getsource(sys.modules[SimpleWorker.__mro__[1].__module__])
    worker = ours.Consumer([rq_queue], connection=broker, serializer="json", name="w1")
    worker.stopping = Stopping(5)
    rq_queue.enqueue_call(here(succeed), args=("x",), job_id="j1")
    worker.request_stop(15, None)
    worker.work(logging_level="CRITICAL")
    assert "unhandled exception" not in caplog.text
    assert rq_queue.get_job_ids() == ["j1"], "the job waits for another worker"
    assert broker.llen(rq_queue.intermediate_queue_key) == 0


def test_a_job_in_a_pipeline_is_not_there_before_the_pipeline_is_executed(rq_queue, broker):
    with broker.pipeline() as pipe:
        rq_queue.enqueue_call(here(succeed), args=("x",), job_id="j1", pipeline=pipe)
        assert rq_queue.count == 0
        pipe.execute()
    assert rq_queue.count == 1


def test_a_finished_job_with_result_ttl_0_leaves_no_key(rq_queue, broker):
    rq_queue.enqueue_call(here(succeed), args=("x",), job_id="j1", result_ttl=0)
    work(rq_queue)
    assert [key for key in broker.scan_iter() if b"j1" in key] == []


def test_no_pickle_is_ever_written(rq_queue, broker):
    rq_queue.enqueue_call(here(succeed), args=("x",), job_id="j1", timeout=5)
    data = broker.hget("rq:job:j1", "data")
    import zlib

    assert zlib.decompress(data).startswith(b"[")


def test_the_time_limit_raises_the_exception_we_catch(rq_queue, broker):
    assert ours.TimeLimitError is JobTimeoutException
    rq_queue.enqueue_call(here(take_too_long), job_id="j1", timeout=1, failure_ttl=5)
    work(rq_queue)
    job = Job.fetch("j1", connection=broker, serializer="json")
    assert "JobTimeoutException" in (job.latest_result().exc_string or "")


def test_a_queued_job_is_an_entry_in_a_list_and_a_hash_and_nothing_else(rq_queue, broker):
    rq_queue.enqueue_call(here(succeed), args=("x",), job_id="j1")
    assert broker.lrem(rq_queue.key, 1, "j1") == 1
    assert broker.delete(Job.key_for("j1")) == 1
    assert rq_queue.count == 0
    assert [key for key in broker.scan_iter() if b"j1" in key] == []
