"""The worker: real processes, real signals, and what becomes of jobs that go wrong."""

import signal
import tempfile
import time

import pytest
import torch
from conftest import start_worker
from submitted import submitted

from models.defenses import parse_defense
from models.images import check
from models.metric import MetricError, UndefinedScoreError
from workers import worker as worker_module
from workers.orders import DefenseOrder, Kind
from workers.process.consumer import Consumer
from workers.state.record import Status


@pytest.fixture
def submit(queue, store, photo_png):
    def put(job_id, defense="none", **fields):
        store.put(job_id, "input", photo_png)
        order = DefenseOrder(kind=Kind.PURIFY, defense=parse_defense(defense), **fields)
        return submitted(queue, job_id, order, check(photo_png))

    return put


@pytest.fixture
def burst(settings, queue, monkeypatch):
    """Perform every waiting job in this process, as a worker would, and return."""
    worker_module.context.cache_clear()

    def work():
        worker = Consumer([queue.rq], connection=queue.rq.connection, serializer="json", log_job_description=False)
        worker.work(burst=True, logging_level="CRITICAL")

    yield work
    worker_module.context.cache_clear()


def test_a_job_is_performed_and_its_output_kept(submit, burst, queue, store):
    submit("job1", "flip")
    burst()
    record = queue.ledger.get("job1")
    assert record.status is Status.FINISHED
    assert store.read("job1", "output").startswith(b"\x89PNG")
    assert record.report.timings_ms["total"] >= record.report.timings_ms["purify"]


def test_a_finished_job_leaves_only_its_record_and_nothing_of_rq(submit, burst, queue, broker):
    submit("job1")
    burst()
    left = {key.decode() for key in broker.scan_iter() if b"job1" in key}
    assert left == {"purifiqa:job:job1", "purifiqa:events:job1", "purifiqa:expired:job1"}
    assert all(broker.ttl(key) > 0 for key in left)


def test_an_expected_failure_fails_at_once_and_says_why(submit, burst, queue, monkeypatch):
    tries = []

    def broken(*_args, **_kwargs):
        tries.append(1)
        raise MetricError("piqe returned a score that is not finite")

    monkeypatch.setattr(worker_module, "execute", broken)
    submit("job1")
    burst()
    record = queue.ledger.get("job1")
    assert (record.status, record.failure.code) == (Status.FAILED, "metric-failed")
    assert "not finite" in record.failure.detail
    assert len(tries) == 1


def test_an_image_without_a_score_is_the_senders_to_change(submit, burst, queue, monkeypatch):
    def flat(*_args, **_kwargs):
        raise UndefinedScoreError("niqe is not defined for this image")

    monkeypatch.setattr(worker_module, "execute", flat)
    submit("job1")
    burst()
    failure = queue.ledger.get("job1").failure
    assert (failure.code, failure.status) == ("metric-failed", 422)


def test_an_unexpected_failure_is_tried_once_more_and_may_then_succeed(submit, burst, queue, broker, monkeypatch):
    real, tries = worker_module.execute, []

    def flaky(*args, **kwargs):
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("once")
        return real(*args, **kwargs)

    monkeypatch.setattr(worker_module, "execute", flaky)
    submit("job1")
    burst()
    assert len(tries) == 2
    assert queue.ledger.get("job1").status is Status.FINISHED
    assert not broker.exists("rq:failed:purifiqa"), "to RQ the entry of the first try has been done"


def test_an_unexpected_failure_that_stays_fails_without_its_story(submit, burst, queue, broker, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(worker_module, "execute", broken)
    submit("job1")
    burst()
    record = queue.ledger.get("job1")
    assert (record.status, record.failure.code) == (Status.FAILED, "internal-error")
    assert "secret" not in record.failure.detail
    assert all(broker.ttl(key) > 0 for key in broker.scan_iter() if b"job1" in key)


def no_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    return caught.value


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), no_memory()])
def test_memory_that_runs_out_twice_is_told_with_what_to_do(submit, burst, queue, monkeypatch, error):
    tries = []

    def greedy(*_args, **_kwargs):
        tries.append(1)
        raise error

    monkeypatch.setattr(worker_module, "execute", greedy)
    submit("job1")
    burst()
    record = queue.ledger.get("job1")
    assert len(tries) == 2, "others on the device may have needed it only for a while"
    assert (record.status, record.failure.code) == (Status.FAILED, "out-of-memory")
    assert "smaller" in record.failure.detail


def test_a_job_over_its_time_limit_fails_with_that_word(submit, burst, queue, monkeypatch):
    def endless(*_args, **_kwargs):
        while True:
            pass

    monkeypatch.setattr(worker_module, "execute", endless)
    monkeypatch.setattr(type(queue._settings), "timeout", lambda *_: 1)
    submit("job1")
    burst()
    assert queue.ledger.get("job1").failure.code == "time-limit"


def test_a_job_whose_input_is_gone_fails_with_that_word(submit, burst, queue, store):
    submit("job1")
    store.erase("job1")
    burst()
    assert queue.ledger.get("job1").failure.code == "input-lost"


def test_a_job_that_is_canceled_while_it_runs_stays_canceled(submit, burst, queue, monkeypatch):
    real = worker_module.execute

    def cancel_then_go_on(*args, **kwargs):
        queue.cancel("job1")
        return real(*args, **kwargs)

    monkeypatch.setattr(worker_module, "execute", cancel_then_go_on)
    submit("job1")
    burst()
    assert queue.ledger.get("job1").status is Status.CANCELED


def test_a_job_that_is_erased_while_it_runs_leaves_no_file(submit, burst, queue, store, settings, monkeypatch):
    real = worker_module.execute

    def erase_then_go_on(*args, **kwargs):
        queue.erase("job1")
        store.erase("job1")
        return real(*args, **kwargs)

    monkeypatch.setattr(worker_module, "execute", erase_then_go_on)
    submit("job1")
    burst()
    assert not [path for path in settings.data_dir.rglob("*") if path.is_file()]


def test_a_job_that_is_erased_as_its_result_is_written_is_no_failure(submit, burst, queue, store, monkeypatch):
    def erase_then_begin(**more):
        if queue.ledger.exists("job1"):
            queue.erase("job1")
        store.erase("job1")
        return real(**more)

    submit("job1", "flip")
    told, real = [], tempfile.mkstemp
    monkeypatch.setattr(tempfile, "mkstemp", erase_then_begin)
    monkeypatch.setattr(worker_module.log, "exception", told.append)
    burst()
    assert told == []
    assert list(store.owners()) == []


def test_a_worker_whose_device_is_lost_ends_and_leaves_its_job_to_another(submit, burst, queue, monkeypatch):
    def lost(*_args, **_kwargs):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(worker_module, "execute", lost)
    monkeypatch.setattr(Consumer, "stopping", worker_module.context().stopping)
    submit("job1")
    burst()
    assert (queue.ledger.get("job1").status, queue.ledger.get("job1").setbacks) == (Status.QUEUED, 1)


def test_one_failing_job_does_not_harm_the_next(submit, burst, queue, monkeypatch):
    real = worker_module.execute
    monkeypatch.setattr(
        worker_module, "execute", lambda order, *a, **k: 1 / 0 if order.seed == 1 else real(order, *a, **k)
    )
    submit("bad", seed=1)
    submit("good", seed=2)
    burst()
    assert queue.ledger.get("bad").status is Status.FAILED
    assert queue.ledger.get("good").status is Status.FINISHED


def test_a_worker_finishes_its_job_on_sigterm_leaves_its_lease_and_loses_nothing(submit, queue, settings, tmp_path):
    process = start_worker(settings, tmp_path / "worker.log")
    assert len(queue.presence.workers()) == 1
    for number in range(30):
        submit(f"job{number}", "random-noise")
    while not any(queue.ledger.get(f"job{number}").status is Status.FINISHED for number in range(30)):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 0
    assert queue.presence.workers() == []
    states = {queue.ledger.get(f"job{number}").status for number in range(30)}
    assert states <= {Status.FINISHED, Status.QUEUED}, "none is left running"
    waiting = [number for number in range(30) if queue.ledger.get(f"job{number}").status is Status.QUEUED]
    assert queue.depth() == len(waiting)


def test_asking_for_cuda_where_there_is_none_is_an_error_and_not_the_cpu():
    import torch

    if torch.cuda.is_available():
        assert worker_module.pick_device("auto") == "cuda"
        return
    assert worker_module.pick_device("auto") == "cpu"
    with pytest.raises(ValueError, match="CUDA"):
        worker_module.pick_device("cuda")


def test_the_pulse_of_a_worker_is_seen_from_its_machine_and_leaves_no_file(tmp_path, monkeypatch):
    from workers.state import pulse

    monkeypatch.setattr(pulse.tempfile, "gettempdir", lambda: str(tmp_path))
    beats = []

    def beat():
        beats.append(1)
        if len(beats) == 1:
            raise RuntimeError("the first one fails, and the pulse goes on")

    monkeypatch.setattr(pulse, "LEASE_SECONDS", 0.1)
    one = pulse.Pulse(beat)
    assert pulse.last_beat() == 0
    one.start()
    while not beats or pulse.last_beat() == 0:
        time.sleep(0.01)
    assert time.time() - pulse.last_beat() < 5
    one.stop()
    assert list(tmp_path.iterdir()) == []
