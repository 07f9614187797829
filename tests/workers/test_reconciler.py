"""What was lost is found: every way in which a job can slip away, on a real broker."""

import time

import pytest

from workers.recovery import reconciler as reconciler_module
from workers.recovery.reconciler import Reconciler
from workers.state.keys import MISSING, OPEN
from workers.state.manifest import read_manifest
from workers.state.record import Status

LIST, TAKEN = "rq:queue:purifiqa", "rq:queue:purifiqa:intermediate"


@pytest.fixture
def passes(queue, store, monkeypatch):
    """Make passes of a reconciler that need not wait."""
    monkeypatch.setattr(reconciler_module, "QUEUED_SECONDS", 1e-9)
    monkeypatch.setattr(reconciler_module, "SILENT_SECONDS", 1e-9)
    one = Reconciler(queue, store, "w1", lease=0)
    monkeypatch.setattr(one._janitor, "look", lambda broker: None)

    def make(count=2):
        for _ in range(count):
            one.reconcile()

    make.one = one
    return make


@pytest.fixture(autouse=True)
def up_for_a_second(broker):
    """The lease in these tests is 0, and the broker must have been up for longer."""
    while broker.info("server")["uptime_in_seconds"] < 1:
        time.sleep(0.05)


def start(queue, job_id, connection=None):
    """Take a job and start it as a worker whose connection is this one."""
    queue.broker.connection.delete(LIST)
    connection = queue.broker.connection_id() if connection is None else connection
    return queue.ledger.start(job_id, placement=queue.ledger.get(job_id).placement, holder=f"w1@{connection}")


def take(broker, job_id):
    """Take the entry of a job as a worker does."""
    assert broker.lrem(LIST, 1, job_id) == 1
    broker.rpush(TAKEN, job_id)


def test_a_job_that_waits_or_runs_is_left_alone(accept, queue, broker, passes):
    accept("runs")
    start(queue, "runs")
    accept("waits")
    passes(4)
    assert (queue.ledger.get("waits").placement, queue.ledger.get("runs").placement) == (1, 1)
    assert not broker.exists(MISSING)


def test_a_job_that_was_taken_by_a_worker_that_died_at_once_is_put_back_without_a_setback(
    accept, queue, broker, passes
):
    accept("job1")
    take(broker, "job1")
    passes(1)
    assert queue.ledger.get("job1").placement == 1, "a worker may have taken it this moment"
    passes(1)
    record = queue.ledger.get("job1")
    assert (record.status, record.placement, record.setbacks) == (Status.QUEUED, 2, 0)
    assert broker.lrange(LIST, 0, -1) == [b"job1--2"]
    assert not broker.exists(TAKEN, MISSING, "rq:job:job1")


def test_a_job_that_was_missed_and_has_started_since_is_not_taken_from_its_worker(accept, queue, passes):
    accept("job1")
    start(queue, "job1")
    passes.one._recover("job1", Status.QUEUED)
    assert (queue.ledger.get("job1").status, queue.ledger.get("job1").placement) == (Status.RUNNING, 1)


def test_a_job_whose_entry_was_lost_with_the_broker_is_put_back(accept, queue, broker, passes):
    accept("job1")
    broker.delete(LIST)
    passes()
    assert broker.lrange(LIST, 0, -1) == [b"job1--2"]


def test_a_job_whose_worker_lets_the_lease_run_out_is_put_back_once_and_then_given_up(
    accept, queue, broker, store, passes
):
    accept("job1")
    for setbacks in (1, 2):
        start(queue, "job1")
        broker.delete("purifiqa:lease:job1")
        passes(2)
        record = queue.ledger.get("job1")
        if setbacks == 1:
            assert (record.status, record.placement, record.setbacks) == (Status.QUEUED, 2, 1)
    assert (record.status, record.failure.code) == (Status.FAILED, "worker-lost")
    assert store.read("job1", "input"), "kept until it expires"
    assert read_manifest(store, "job1").status is Status.FAILED
    assert not broker.exists(OPEN, "rq:job:job1--2")


def test_a_job_whose_worker_is_no_longer_connected_is_put_back_before_its_lease_runs_out(accept, queue, broker, passes):
    accept("job1")
    start(queue, "job1", connection=10**9)
    passes(1)
    assert queue.ledger.get("job1").status is Status.RUNNING, "it may be connecting again"
    passes(1)
    assert queue.ledger.get("job1").status is Status.QUEUED
    assert queue.ledger.get("job1").setbacks == 1


def test_a_worker_whose_lease_ran_out_while_nobody_was_heard_may_renew_it(accept, queue, broker, passes):
    accept("job1")
    started = start(queue, "job1")
    broker.delete("purifiqa:lease:job1")
    passes(1)
    queue.ledger.keep(started, f"w1@{queue.broker.connection_id()}")
    passes(2)
    assert (queue.ledger.get("job1").status, queue.ledger.get("job1").setbacks) == (Status.RUNNING, 0)
    assert not broker.exists(MISSING)


def test_after_a_start_of_the_broker_workers_are_given_time_to_come_back(accept, queue, broker, passes):
    accept("job1")
    start(queue, "job1", connection=10**9)
    passes.one._lease = 10**9
    passes(4)
    assert queue.ledger.get("job1").status is Status.RUNNING


def test_a_worker_lost_after_the_time_limit_means_that_the_limit_was_broken(accept, queue, broker, passes, monkeypatch):
    accept("job1")
    record = start(queue, "job1")
    broker.hset("purifiqa:job:job1", "started", str(time.time() - 10_000))
    queue.ledger.keep(record, "w1@0")
    broker.delete("purifiqa:lease:job1")
    passes(2)
    assert queue.ledger.get("job1").failure.code == "time-limit"


def test_time_in_which_every_worker_was_away_breaks_no_limit_and_the_job_is_done_again(accept, queue, broker, passes):
    accept("job1")
    record = start(queue, "job1")
    queue.ledger.keep(record, "w1@0")
    broker.hset("purifiqa:job:job1", "started", str(time.time() - 10_000))
    broker.hset("purifiqa:job:job1", "seen", str(time.time() - 9_990))
    broker.delete("purifiqa:lease:job1")
    passes(2)
    assert (queue.ledger.get("job1").status, queue.ledger.get("job1").setbacks) == (Status.QUEUED, 1)


def test_entries_of_nobody_are_removed_and_records_that_expired_are_no_longer_counted(accept, queue, broker, passes):
    accept("job1")
    broker.rpush(TAKEN, "planted")
    broker.hset("rq:job:planted", "data", "x")
    take(broker, "job1")
    broker.delete("purifiqa:job:job1")
    passes()
    assert not broker.exists(TAKEN, OPEN, "rq:job:planted")


def test_an_entry_that_is_void_is_removed_and_the_job_goes_on(accept, queue, broker, passes):
    accept("job1")
    queue.put_back(start(queue, "job1"))
    start(queue, "job1")
    broker.rpush(TAKEN, "job1")  # a worker that died took it before it was put back
    passes()
    assert not broker.exists(TAKEN)
    assert (queue.ledger.get("job1").status, queue.ledger.get("job1").placement) == (Status.RUNNING, 2)


def test_where_the_broker_tells_nothing_of_connections_leases_decide_alone(accept, queue, broker, passes, monkeypatch):
    from redis.exceptions import NoPermissionError

    def refuse(**_):
        raise NoPermissionError

    accept("job1")
    start(queue, "job1", connection=10**9)
    monkeypatch.setattr(queue.broker.connection, "client_list", refuse)
    passes(3)
    assert queue.ledger.get("job1").status is Status.RUNNING
    broker.delete("purifiqa:lease:job1")
    passes()
    assert queue.ledger.get("job1").status is Status.QUEUED


def test_one_worker_at_a_time_has_its_turn(passes):
    survey = passes.one._survey
    assert survey.claim("w1", 60)
    assert not survey.claim("w2", 60)


def test_a_job_that_another_version_wrote_is_told_of_once(accept, broker, passes, caplog):
    accept("job1")
    broker.delete(LIST)
    broker.hset("purifiqa:job:job1", "fixed", '{"order": "of tomorrow"}')
    passes(6)
    told = [one.getMessage() for one in caplog.records if "job1" in one.getMessage()]
    assert told == ["job job1 was written by another version of the service; only that version can do it"]
    assert broker.zscore(OPEN, "job1"), "it may come back"
