"""The thread that keeps a worker's leases, tells how far its jobs are and learns what became of them elsewhere."""

import time

import pytest

from workers.process.lease import Keeper
from workers.state.broker import Broker
from workers.state.ledger import Ledger
from workers.state.measures import Observations


@pytest.fixture
def keeper(settings):
    return Keeper(Ledger(Broker(settings), settings, Observations()), "w1")


@pytest.fixture
def started(accept, queue, keeper):
    accept("job1")
    return queue.ledger.start("job1", placement=1, holder=keeper.holder)


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_how_far_a_job_is_is_told_once(keeper, started, queue, broker):
    with keeper.hold(started) as hold:
        hold.report(0.5)
        wait_for(lambda: queue.ledger.get("job1").progress == 0.5)
        told = broker.xlen("purifiqa:events:job1")
        for _ in range(3):
            keeper._look()
        assert broker.xlen("purifiqa:events:job1") == told, "or the 64 that are kept would soon be all alike"


def test_a_lease_is_renewed_while_its_job_is_held_and_no_longer(keeper, started, broker):
    with keeper.hold(started):
        broker.pexpire("purifiqa:lease:job1", 100_000)
        wait_for(lambda: broker.pttl("purifiqa:lease:job1") <= 10_000)
    keeper._look()
    broker.delete("purifiqa:lease:job1")
    keeper._look()
    assert not broker.exists("purifiqa:lease:job1")


def test_the_thread_outlives_whatever_goes_wrong_with_one_look(keeper, started, queue, monkeypatch):
    keep, failures = keeper._ledger.keep, []

    def broken(*arguments):
        if not failures:
            failures.append(1)
            raise ValueError("nobody expected this")
        return keep(*arguments)

    monkeypatch.setattr(keeper._ledger, "keep", broken)
    with keeper.hold(started) as hold:
        wait_for(lambda: failures)
        queue.cancel("job1")
        wait_for(lambda: not hold.is_wanted)
