"""Batches of workers that have to end, of jobs that are canceled meanwhile, and of a broker that fails."""

import time

from redis.exceptions import ConnectionError as RedisConnectionError

from workers.process import batch as batch_module
from workers.state.entries import job_of
from workers.telemetry import vitals


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def statuses(queue, *jobs):
    return [str(queue.ledger.get(job).status) for job in jobs]


def test_a_worker_that_has_to_end_begins_no_batch(submit, here, queue, batches):
    for number in range(3):
        submit(f"job{number}", seed=number)
    here.stopping.request()
    with here.batcher.batch("job0", 1) as others:
        assert list(others) == []
    assert batches == []
    assert statuses(queue, "job0", "job1", "job2") == ["queued"] * 3
    assert queue.depth() == 3


def test_a_worker_that_has_to_end_does_not_begin_what_a_batch_that_failed_has_left(
    submit, work, here, queue, alone, monkeypatch
):
    def stop(*_, **__):
        here.stopping.request()
        raise ValueError("and it fails")

    monkeypatch.setattr(batch_module, "execute_together", stop)
    for number in range(3):
        submit(f"job{number}", seed=number)
    work()
    assert alone == [0], "the one that was taken"
    assert statuses(queue, "job0", "job1", "job2") == ["finished", "queued", "queued"]
    assert [job_of(entry) for entry in queue.rq.job_ids] == ["job1", "job2"]


def test_a_void_entry_takes_nobody_along(submit, work, queue, batches, alone, broker):
    for number in range(2):
        submit(f"job{number}", seed=number)
    queue.put_back(queue.ledger.get("job0"), in_hand=True)
    broker.lmove("rq:queue:purifiqa", "rq:queue:purifiqa", "LEFT", "RIGHT")
    assert queue.rq.job_ids == ["job0", "job1", "job0--2"]
    work()
    assert (batches, alone) == ([[1, 0]], [])
    assert statuses(queue, "job0", "job1") == ["finished"] * 2


def test_a_job_that_is_canceled_after_its_batch_has_begun_is_left_out(submit, work, here, queue, batches, monkeypatch):
    read = here.store.read

    def cancel_then_read(job_id, role):
        if job_id == "job0":
            queue.cancel("job1")
            wait_for(lambda: here.keeper._held["job1"].verdict == "canceled")
        return read(job_id, role)

    monkeypatch.setattr(here.store, "read", cancel_then_read)
    for number in range(3):
        submit(f"job{number}", seed=number)
    work()
    assert batches == [[0, 2]]
    assert statuses(queue, "job0", "job1", "job2") == ["finished", "canceled", "finished"]


def test_a_batch_may_take_as_long_as_the_longest_of_its_jobs_and_tells_each_how_far_it_is(
    submit, work, here, queue, settings, monkeypatch
):
    limits, allowed, told, hard_limit = [], [], [], here.batcher._hard_limit
    monkeypatch.setattr(here.batcher, "_hard_limit", lambda limit: limits.append(limit) or hard_limit(limit))

    def watched(orders, progress, **options):
        allowed.append(vitals.HERE.deadline - time.monotonic())
        progress(0.5)
        wait_for(lambda: all(queue.ledger.get(job).progress == 0.5 for job in ("short", "long")))
        told.append(orders)  # what goes wrong here goes wrong with no job
        return [None] * len(orders)

    monkeypatch.setattr(batch_module, "execute_together", watched)
    submit("short")
    submit("long", samples=3)
    work()
    assert limits == [3 * settings.timeout_network]
    assert allowed[0] > limits[0], "nor is the worker called stuck before"
    assert told


def test_a_job_is_done_alone_where_the_broker_fails_while_others_are_looked_for(
    submit, work, here, queue, batches, alone, monkeypatch
):
    def away(*_):
        raise RedisConnectionError

    monkeypatch.setattr(here.batcher._companions, "of", away)
    for number in range(2):
        submit(f"job{number}", seed=number)
    work()
    assert (batches, alone) == ([], [0, 1])
    assert statuses(queue, "job0", "job1") == ["finished"] * 2


def test_what_another_worker_takes_at_the_same_moment_is_left_to_it(
    submit, work, here, queue, batches, broker, monkeypatch
):
    look = here.batcher._companions.of

    def overtaken(*arguments):
        found = look(*arguments)
        assert broker.lrem("rq:queue:purifiqa", 1, "job1") == 1
        return found

    for number in range(3):
        submit(f"job{number}", seed=number)
    monkeypatch.setattr(here.batcher._companions, "of", overtaken)
    work()
    assert batches == [[0, 2]]
    assert statuses(queue, "job0", "job1", "job2") == ["finished", "queued", "finished"]


def test_other_workers_that_are_alive_are_left_their_share(submit, work, queue, batches):
    queue.presence.beat("w1")
    queue.presence.beat("w2")
    for number in range(4):
        submit(f"job{number}", seed=number)
    work()
    assert batches[0] == [0, 1]


def test_a_worker_does_not_look_through_a_whole_long_queue(submit, work, batches, monkeypatch):
    monkeypatch.setattr("workers.process.companions.WINDOW", 2)
    for number in range(4):
        submit(f"job{number}", seed=number)
    work()
    assert batches[0] == [0, 1, 2]
