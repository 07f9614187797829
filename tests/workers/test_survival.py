"""Real workers that are told to stop, grow old, get stuck, or are handed what is none of ours."""

import logging
import os
import signal
import time

import pytest
import redis
from conftest import start_worker
from rq import Queue

from models.diffusion.ffdnet import FFDNet
from models.metric import MetricError
from workers import worker as worker_module
from workers.process.consumer import Consumer
from workers.recovery.reconciler import SILENT_SECONDS, Reconciler
from workers.state.ledger import JobCanceledError
from workers.state.manifest import read_manifest
from workers.state.queue import JobQueue
from workers.state.record import Status

LONG = '{"name": "diffpure", "sampler": "ddim", "timestep": 150, "steps": 150, "squeeze": 256}'


@pytest.fixture
def start(settings, tmp_path):
    started = []

    def go(**options):
        started.append(start_worker(settings, tmp_path / "worker.log", **options))
        return started[-1]

    yield go
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_running_job_that_is_canceled_ends_long_before_its_last_step_and_makes_room_for_the_next(
    accept, queue, serve, monkeypatch
):
    accept("long", LONG)
    accept("next")
    steps, canceled, denoise = [], [], FFDNet.forward

    def slow(*arguments):
        steps.append(time.time())
        time.sleep(0.05)
        return denoise(*arguments)

    monkeypatch.setattr(FFDNet, "forward", slow)

    def cancel(_here):
        wait_for(lambda: queue.ledger.get("long").status is Status.RUNNING)
        time.sleep(0.5)
        queue.cancel("long")
        canceled.append(time.time())

    serve(cancel, max_jobs=2)
    assert queue.ledger.get("long").status is Status.CANCELED
    assert queue.ledger.get("next").status is Status.FINISHED
    after = sum(step > canceled[0] for step in steps)
    assert after < 60, "the contract is a second on a quiet machine, of the seven or more that 150 steps take"
    assert len(steps) > after


def test_a_worker_that_has_no_time_to_finish_gives_its_job_back(accept, queue, broker, serve, caplog):
    accept("long", LONG)
    accept("next")

    def terminate(_here):
        wait_for(lambda: queue.ledger.get("long").status is Status.RUNNING)
        os.kill(os.getpid(), signal.SIGTERM)

    serve(terminate, stop_grace=0)
    record = queue.ledger.get("long")
    assert (record.status, record.placement, record.setbacks) == (Status.QUEUED, 2, 0)
    assert broker.lrange("rq:queue:purifiqa", 0, -1) == [b"long--2", b"next"]
    assert not broker.exists("purifiqa:lease:long")
    assert not broker.exists("rq:job:long--1", "rq:failed:purifiqa"), "to RQ that entry has been done"
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


def test_a_worker_told_twice_to_stop_does_not_wait_for_its_grace_to_end(accept, queue, serve):
    accept("long", LONG)

    def terminate(here):
        wait_for(lambda: queue.ledger.get("long").status is Status.RUNNING)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(lambda: here.stopping.requested)
        time.sleep(0.3)
        assert queue.ledger.get("long").status is Status.RUNNING
        os.kill(os.getpid(), signal.SIGTERM)

    serve(terminate, stop_grace=3600)
    assert queue.ledger.get("long").status is Status.QUEUED


def test_a_worker_ends_by_itself_after_so_many_jobs_and_loses_none(accept, queue, serve):
    for number in range(3):
        accept(f"job{number}")
    serve(max_jobs=2)
    assert [queue.ledger.get(f"job{n}").status for n in range(3)] == [Status.FINISHED, Status.FINISHED, Status.QUEUED]


def test_a_job_that_redis_has_lost_while_it_ran_keeps_its_files_so_that_it_is_restored(
    accept, queue, store, broker, serve, monkeypatch
):
    def lose(*_, **__):
        broker.flushall()
        raise JobCanceledError("job1 is gone")

    monkeypatch.setattr(worker_module, "execute", lose)
    accept("job1")
    serve(max_jobs=1)
    assert not queue.ledger.exists("job1")
    assert store.read("job1", "input")
    assert read_manifest(store, "job1").status is Status.QUEUED


def test_how_a_job_has_ended_is_kept_beside_its_files_too(accept, store, serve, monkeypatch):
    real = worker_module.execute

    def perform(order, *args, **options):
        if order.seed == 1:
            raise MetricError("no number")
        return real(order, *args, **options)

    monkeypatch.setattr(worker_module, "execute", perform)
    accept("bad", seed=1)
    accept("good", seed=2)
    serve(max_jobs=2)
    bad, good = (read_manifest(store, job_id) for job_id in ("bad", "good"))
    assert (bad.status, bad.failure.code) == (Status.FAILED, "metric-failed")
    assert (good.status, good.report.image.bytes) == (Status.FINISHED, len(store.read("good", "output")))
    assert good.started <= good.ended


def test_a_result_is_told_however_long_the_broker_was_away(accept, queue, serve, monkeypatch):
    accept("job1")
    failures = []
    real = JobQueue.finish

    def finish(self, *args):
        if len(failures) < 3:
            failures.append(1)
            raise redis.ConnectionError("away")
        return real(self, *args)

    monkeypatch.setattr(JobQueue, "finish", finish)
    monkeypatch.setattr(worker_module, "RETRY_SECONDS", 0.01)
    serve(max_jobs=1)
    assert queue.ledger.get("job1").status is Status.FINISHED


def test_a_worker_goes_on_after_the_broker_failed_it_in_the_middle_of_its_bookkeeping(
    accept, queue, serve, monkeypatch
):
    accept("job1")
    accept("job2")
    failures = []
    real = Consumer.prepare_execution

    def prepare(self, job):
        if not failures:
            failures.append(job.id)
            raise redis.ConnectionError("away")
        return real(self, job)

    monkeypatch.setattr(Consumer, "prepare_execution", prepare)
    serve(max_jobs=1)
    assert failures == ["job1"]
    assert queue.ledger.get("job2").status is Status.FINISHED
    assert queue.entries().taken == {"job1"}, "the reconciler finds it there"


STUCK = """
import hashlib
from workers import worker
worker.HARD_LIMIT_GRACE = 1
worker.execute = lambda *a, **k: hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # no signal gets through to it
worker.warm_up = lambda here: None
worker.serve()
"""


@pytest.mark.slow
def test_a_worker_that_is_stuck_in_c_ends_and_its_job_has_broken_the_limit(
    accept, queue, settings, store, start, monkeypatch, tmp_path
):
    monkeypatch.setenv("PURIFIQA_TIMEOUT_CHEAP", "1")
    accept("job1")
    assert start(code=STUCK).wait(90) == 1
    assert "pbkdf2" in (tmp_path / "worker.log").read_text() or "Timeout" in (tmp_path / "worker.log").read_text()
    queue.broker.connection.delete("purifiqa:lease:job1")
    wait_for(lambda: time.time() - queue.ledger.get("job1").started > 1)
    reconciler = Reconciler(JobQueue(settings.model_copy(update={"timeout_cheap": 1})), store, "w1", lease=0)
    reconciler.reconcile()
    time.sleep(SILENT_SECONDS)
    reconciler.reconcile()
    assert queue.ledger.get("job1").failure.code == "time-limit"


def test_nothing_runs_that_is_none_of_ours(accept, queue, broker, tmp_path, caplog):
    mark = tmp_path / "planted"
    theirs = Queue("purifiqa", connection=broker, serializer="json")
    theirs.enqueue_call("os.system", args=(f"touch {mark}",), job_id="shell")
    theirs.enqueue_call("os.mkdir", args=(str(mark), 0o700), job_id="mkdir")
    ours = {"func": worker_module.perform, "args": ("job1", 1)}
    theirs.enqueue_call(**ours, kwargs={"x": 1}, job_id="kwargs")
    theirs.enqueue_call(**ours, job_id="callback")
    broker.hset("rq:job:callback", "success_callback_name", "os.getcwd")
    theirs.enqueue_call(worker_module.perform, args=("named", 1), job_id="named")
    broker.hset("rq:job:named", "success_callback_name", "os.getcwd")
    theirs.enqueue_call(**ours, job_id="other-job")
    pickled = Queue("purifiqa", connection=broker)
    pickled.enqueue_call("os.system", args=(f"touch {mark}",), job_id="pickled")
    theirs.enqueue_call(**ours, job_id="nonsense")
    broker.hset("rq:job:nonsense", mapping={"status": "dancing", "timeout": "x"})
    accept("job1")
    worker_module.context.cache_clear()
    worker = Consumer([queue.rq], connection=queue.rq.connection, serializer="json", log_job_description=False)
    worker.work(burst=True, logging_level="CRITICAL")
    worker_module.context.cache_clear()
    assert not mark.exists()
    for entry in ("shell", "mkdir", "kwargs", "callback", "named", "other-job"):
        assert f"refused queue entry {entry}" in caplog.text
    assert queue.ledger.get("job1").status is Status.FINISHED
    assert queue.presence.totals() == {("purify", "none", "finished"): 1}


def test_two_workers_in_containers_of_the_same_name_and_number_do_not_mistake_each_other(settings):
    worker_module.context.cache_clear()
    first = worker_module.context().name
    worker_module.context.cache_clear()
    assert worker_module.context().name != first
    worker_module.context.cache_clear()
    assert str(os.getpid()) in first


@pytest.mark.slow
def test_a_worker_killed_in_a_batch_loses_none_of_it(accept, start, queue, monkeypatch, tmp_path):
    monkeypatch.setenv("PURIFIQA_BATCH_PIXELS", "1000000")
    names = [f"job{number}" for number in range(5)]
    for seed, name in enumerate(names):
        accept(name, "diffpure", seed=seed)
    process = start(code=STUCK_IN_A_BATCH)
    wait_for(lambda: all(queue.ledger.get(name).status is Status.RUNNING for name in names), 60)
    process.send_signal(signal.SIGKILL)
    assert process.wait(90) == -signal.SIGKILL
    survivor = start()
    wait_for(lambda: all(queue.ledger.get(name).status.is_final for name in names), 60)
    survivor.terminate()
    assert survivor.wait(90) == 0
    assert {queue.ledger.get(name).status for name in names} == {Status.FINISHED}
    assert {queue.ledger.get(name).setbacks for name in names} == {1}
    assert "together" not in (tmp_path / "worker.log").read_text(), "each alone, for one of them may be the killer"


STUCK_IN_A_BATCH = """
import time
from workers import worker
from workers.process import batch
batch.execute_together = lambda *a, **k: time.sleep(60)
worker.warm_up = lambda here: None
worker.serve()
"""
