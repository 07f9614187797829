"""The life of a job's record, on a real broker."""

import asyncio
import json
import threading
import time

import pytest
from submitted import submitted

from models.defenses import parse_defense
from models.images import ImageFacts, ImageFormat
from workers.orders import DefenseOrder, Kind
from workers.reports import Report
from workers.settings import WorkerSettings
from workers.state import events as events_module
from workers.state import ledger as ledger_module
from workers.state.broker import BROKER_ERRORS, BrokerRefusedError
from workers.state.ledger import JobCanceledError, JobExpiredError, JobUnknownError
from workers.state.presence import HOUSEKEEPING_SECONDS
from workers.state.queue import JobQueue
from workers.state.record import Failure, Status

ORDER = DefenseOrder(kind=Kind.PURIFY, defense=parse_defense('{"name": "flip", "axis": "vertical"}'), seed=5)
IMAGE = ImageFacts(format=ImageFormat.PNG, width=64, height=48, mode="RGB", bytes=10, sha256="0" * 64, conversions=())


def wait(queue, job_id, seconds):
    """Wait as the API does, and close what belongs to this event loop."""

    async def go():
        try:
            return await queue.events.wait(job_id, seconds)
        finally:
            await queue.broker.async_connection.aclose()

    return asyncio.run(go())


@pytest.fixture
def job(queue):
    return submitted(queue, "job1", ORDER, IMAGE)


def keys(broker):
    return {key.decode() for key in broker.scan_iter() if not key.startswith(b"rq:queues")}


def test_a_submitted_job_is_queued_with_all_that_was_ordered(queue, job):
    assert queue.ledger.get("job1") == job
    assert job.status is Status.QUEUED
    assert job.order == ORDER
    assert queue.depth() == 1


def test_every_key_of_a_queued_job_has_an_end(queue, job, broker, settings):
    for key in keys(broker) - {"rq:queue:purifiqa", "purifiqa:open", "purifiqa:ends"}:
        assert broker.ttl(key) > 0, key
    assert broker.ttl("purifiqa:job:job1") <= settings.queue_ttl


def test_a_job_runs_through_its_states_and_its_record_ends_after_the_result_ttl(queue, job, broker, settings):
    assert queue.ledger.start("job1").status is Status.RUNNING
    assert queue.ledger.keep(job, "w1@1", 0.5) == "running"
    assert queue.ledger.get("job1").progress == 0.5
    queue.finish(job, Report())
    record = queue.ledger.get("job1")
    assert (record.status, record.progress, record.report) == (Status.FINISHED, 1, Report())
    assert record.created <= record.started <= record.ended
    assert 0 < broker.ttl("purifiqa:job:job1") <= settings.result_ttl
    assert broker.ttl("purifiqa:expired:job1") > settings.result_ttl
    assert queue.presence.totals() == {("purify", "flip", "finished"): 1}


def test_a_job_that_starts_late_keeps_its_record_while_it_runs(queue, job, broker, settings):
    broker.expire("purifiqa:job:job1", 1)
    assert queue.ledger.start("job1") == queue.ledger.get("job1")
    assert broker.ttl("purifiqa:job:job1") > settings.result_ttl


def test_a_failure_says_why(queue, job):
    queue.ledger.start("job1")
    queue.fail(job, Failure(code="metric-failed", detail="NaN"))
    assert queue.ledger.get("job1").failure == Failure(code="metric-failed", detail="NaN")


def test_a_canceled_job_never_starts_and_never_turns_finished(queue, job):
    assert queue.cancel("job1").status is Status.CANCELED
    for change in (
        lambda: queue.ledger.start("job1"),
        lambda: queue.finish(job, Report()),
        lambda: queue.fail(job, Failure(code="x", detail="")),
        lambda: queue.put_back(job),
    ):
        with pytest.raises(JobCanceledError):
            change()
    assert queue.ledger.get("job1").status is Status.CANCELED


def test_a_running_job_that_is_canceled_learns_of_it_at_its_next_report(queue, job):
    queue.ledger.start("job1", holder="w1@1")
    queue.cancel("job1")
    assert queue.ledger.keep(job, "w1@1", 0.5) == "canceled"
    assert queue.ledger.get("job1").progress == 0


def test_a_finished_job_stays_finished_when_canceled(queue, job):
    queue.ledger.start("job1")
    queue.finish(job, Report())
    assert queue.cancel("job1").status is Status.FINISHED


def test_a_job_that_is_put_back_may_start_again_and_only_as_its_newest_entry(queue, job):
    with pytest.raises(JobCanceledError):
        queue.ledger.start("job1", placement=2)
    started = queue.ledger.start("job1", placement=1, holder="w1@1")
    again = queue.put_back(started, setbacks=1)
    assert (again.status, again.placement, again.setbacks) == (Status.QUEUED, 2, 1)
    assert queue.ledger.get("job1") == again.model_copy(update={"started": started.started})
    with pytest.raises(JobCanceledError):
        queue.ledger.start("job1", placement=1)
    assert queue.ledger.start("job1", placement=2).status is Status.RUNNING
    with pytest.raises(JobCanceledError):
        queue.put_back(started)


def test_who_has_lost_a_job_to_another_cannot_end_it(queue, job):
    started = queue.ledger.start("job1", placement=1)
    queue.ledger.start("job1", placement=queue.put_back(started).placement)
    for change in (lambda: queue.finish(started, Report()), lambda: queue.fail(started, Failure(code="x", detail=""))):
        with pytest.raises(JobCanceledError):
            change()
    assert queue.ledger.keep(started, "w1@1") == "lost"
    assert queue.ledger.get("job1").status is Status.RUNNING


def test_a_job_that_is_put_back_waits_at_the_front_and_leaves_nothing_of_its_first_entry(queue, job, broker):
    submitted(queue, "job2", ORDER, IMAGE)
    queue.put_back(queue.ledger.start("job1"))
    assert broker.lrange("rq:queue:purifiqa", 0, -1) == [b"job1--2", b"job2"]
    assert not broker.exists("rq:job:job1")


def test_a_lease_is_held_while_it_is_renewed_and_ends_with_the_job(queue, job, broker, settings):
    queue.ledger.start("job1", holder="w1@1")
    assert broker.get("purifiqa:lease:job1") == b"w1@1"
    broker.pexpire("purifiqa:lease:job1", 1)
    time.sleep(0.01)
    queue.ledger.keep(job, "w1@2")
    assert broker.get("purifiqa:lease:job1") == b"w1@2"
    assert 0 < broker.pttl("purifiqa:lease:job1") <= settings.lease * 1000
    assert broker.zrange("purifiqa:open", 0, -1) == [b"job1"]
    queue.finish(job, Report())
    assert not broker.exists("purifiqa:lease:job1")
    assert not broker.exists("purifiqa:open")


def test_erasing_leaves_no_key_even_if_a_worker_still_reports(queue, job, broker):
    queue.ledger.start("job1")
    queue.erase("job1")
    assert queue.ledger.keep(job, "w1@1", 0.5) == "gone"
    with pytest.raises(JobCanceledError):
        queue.finish(job, Report())
    assert not [key for key in keys(broker) if key.startswith("purifiqa:")]
    with pytest.raises(JobUnknownError):
        queue.ledger.get("job1")


def test_erasing_a_finished_job_leaves_no_key_either(queue, job, broker):
    queue.finish(queue.ledger.start("job1"), Report())
    assert broker.keys("purifiqa:answer:*")
    queue.erase("job1")
    kept = {"purifiqa:jobs-total", "purifiqa:pace"}  # counts, not whose
    assert not [key for key in keys(broker) if key.startswith("purifiqa:") and key not in kept]


def test_an_expired_job_is_told_from_one_that_never_was(queue, job, broker):
    broker.delete("purifiqa:job:job1")
    with pytest.raises(JobExpiredError):
        queue.ledger.get("job1")
    with pytest.raises(JobUnknownError):
        queue.ledger.get("job2")


def test_events_are_bounded(queue, job, broker):
    queue.ledger.start("job1")
    for step in range(500):
        queue.ledger.keep(job, "w1@1", step / 500)
    assert broker.xlen("purifiqa:events:job1") <= ledger_module.EVENTS_KEPT


def test_waiting_ends_when_the_job_does(queue, job):
    def work():
        time.sleep(0.2)
        queue.ledger.start("job1")
        queue.finish(job, Report())

    worker = threading.Thread(target=work)
    worker.start()
    start = time.monotonic()
    assert wait(queue, "job1", 20)
    assert time.monotonic() - start < 10
    worker.join()


def test_waiting_longer_than_one_read_goes_on_reading(queue, job, monkeypatch):
    monkeypatch.setattr(events_module, "BLOCK_SECONDS", 0.05)
    assert not wait(queue, "job1", 0.3)


def test_waiting_for_a_job_that_has_ended_returns_at_once(queue, job):
    queue.cancel("job1")
    assert wait(queue, "job1", 20)


def test_a_worker_counts_while_its_lease_runs(queue, broker):
    queue.presence.beat("w1")
    assert queue.presence.workers() == ["w1"]
    broker.zadd("purifiqa:workers", {"w2": time.time() - 1})
    assert queue.presence.workers() == ["w1"]
    queue.presence.beat("w1")
    assert broker.zcard("purifiqa:workers") == 1, "ended leases are swept"
    queue.presence.leave("w1")
    assert queue.presence.workers() == []


@pytest.mark.parametrize("skew", [-60, 60])
def test_workers_count_whatever_their_clocks_say(queue, monkeypatch, skew):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + skew)
    queue.presence.beat("elsewhere", "{}")
    monkeypatch.setattr(time, "time", now)
    queue.presence.beat("here", "{}")
    monkeypatch.setattr(time, "time", lambda: now() + skew)
    queue.presence.beat("elsewhere", "{}")
    monkeypatch.setattr(time, "time", now)
    assert sorted(queue.presence.workers()) == ["elsewhere", "here"]


def test_a_broker_that_is_not_there_is_said_to_be_so(tmp_path):
    queue = JobQueue(WorkerSettings(redis_url="redis://127.0.0.1:1/0", data_dir=tmp_path))
    with pytest.raises(BROKER_ERRORS):
        submitted(queue, "job1", ORDER, IMAGE)
    assert wait(queue, "job1", 0.2) is False


def test_a_broker_that_refuses_to_write_is_said_to_be_so_and_nothing_is_accepted(queue, broker):
    broker.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(BrokerRefusedError):
            submitted(queue, "job1", ORDER, IMAGE)
    finally:
        broker.config_set("min-replicas-to-write", 0)
    with pytest.raises(JobUnknownError):
        queue.ledger.get("job1")


def test_a_record_of_a_version_that_knew_other_defenses_counts_as_expired(queue, job, broker):
    fixed = json.loads(broker.hget("purifiqa:job:job1", "fixed"))
    fixed["order"]["defense"]["name"] = "renamed-since"
    broker.hset("purifiqa:job:job1", "fixed", json.dumps(fixed))
    with pytest.raises(JobExpiredError):
        queue.ledger.get("job1")
    assert queue.ledger.get_all(["job1"]) == [None]


def test_the_store_is_looked_after_by_one_worker_at_a_time(queue, broker):
    assert queue.presence.claim_housekeeping("w1")
    assert not queue.presence.claim_housekeeping("w2")
    assert 0 < broker.ttl("purifiqa:housekeeping") <= HOUSEKEEPING_SECONDS


def test_more_clients_can_wait_than_a_pool_holds_by_default(queue, job):
    async def go():
        try:
            return await asyncio.gather(*(queue.events.wait("job1", 1.5) for _ in range(150)))
        finally:
            await queue.broker.async_connection.aclose()

    start = time.monotonic()
    assert not any(asyncio.run(go()))
    assert time.monotonic() - start >= 1.5, "nobody was sent away early"


def test_waiting_ends_when_the_job_is_erased_or_the_service_stops(queue, job, monkeypatch):
    monkeypatch.setattr(events_module, "BLOCK_SECONDS", 0.05)
    queue.erase("job1")
    assert wait(queue, "job1", 20)
    submitted(queue, "job2", ORDER, IMAGE)
    queue.broker.stop_waiting()
    assert not wait(queue, "job2", 20)
