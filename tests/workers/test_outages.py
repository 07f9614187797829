"""What a worker has computed is told however long the broker is away."""

import time

import pytest
import redis

from workers import worker as worker_module
from workers.state.manifest import read_manifest
from workers.state.queue import JobQueue
from workers.state.record import Status


def test_a_result_is_told_although_its_job_has_no_time_left_when_the_broker_is_back(
    accept, here, work, queue, settings, monkeypatch
):
    monkeypatch.setattr(type(settings), "timeout", lambda *_: 1)
    monkeypatch.setattr(worker_module, "RETRY_SECONDS", 0.05)
    ended = []
    finish, cancel = JobQueue.finish, worker_module.faulthandler.cancel_dump_traceback_later

    def away(self, record, report):
        if time.time() < record.started + 2.5:
            raise redis.ConnectionError("away")
        assert ended, "the process is not ended either"
        finish(self, record, report)

    monkeypatch.setattr(JobQueue, "finish", away)
    monkeypatch.setattr(worker_module.faulthandler, "cancel_dump_traceback_later", lambda: ended.append(1) or cancel())
    accept("job1")
    work()
    assert (queue.ledger.get("job1").status, queue.ledger.get("job1").failure) == (Status.FINISHED, None)


def test_a_worker_that_has_to_end_leaves_a_result_that_cannot_be_told_to_another(
    accept, here, work, queue, monkeypatch
):
    tries = []

    def away(*_):
        tries.append(1)
        assert len(tries) == 1, "it goes on trying"
        here.stopping.request()
        here.stopping.request()
        raise redis.ConnectionError("away")

    monkeypatch.setattr(JobQueue, "finish", away)
    accept("job1")
    work()
    assert queue.ledger.get("job1").status is Status.RUNNING, "until the reconciler misses its lease"


@pytest.mark.parametrize("status", [Status.FINISHED, Status.FAILED])
def test_an_end_whose_answer_was_lost_is_written_down_once_and_for_all(
    accept, here, work, queue, store, broker, monkeypatch, status
):
    monkeypatch.setattr(worker_module, "RETRY_SECONDS", 0.05)
    told, lost = here.queue.ledger._move, []

    def answer_lost(keys, args):
        answer = told(keys=keys, args=args)
        if status in args and not lost:
            lost.append(answer)
            raise redis.ConnectionError("gone before it answered")
        return answer

    monkeypatch.setattr(here.queue.ledger, "_move", answer_lost)
    accept("job1", seed=1)
    if status is Status.FAILED:
        store.drop("job1", "input")
    work()
    assert lost == [b"moved"]
    record = queue.ledger.get("job1")
    assert (record.status, read_manifest(store, "job1").status) == (status, status)
    assert broker.hgetall("purifiqa:jobs-total") == {f"purify|none|{status}".encode(): b"1"}
    assert (queue.answers.find("", record.order, record.image.sha256) == "job1") == (status is Status.FINISHED)
