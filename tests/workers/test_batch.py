"""Waiting jobs computed together, on a real broker: what each job's record tells, and what goes wrong with whom."""

import time

import pytest
import torch
from submitted import submitted

from models.attacks import parse_attack
from models.defenses import parse_defense
from models.images import ImageFormat, check, encode
from workers import worker as worker_module
from workers.jobs import execute
from workers.orders import AttackOrder
from workers.process import batch as batch_module
from workers.process.stopping import StoppedError
from workers.state.entries import job_of
from workers.state.record import Status

DIFFPURE = parse_defense("diffpure")


def statuses(queue, *jobs):
    return [str(queue.ledger.get(job).status) for job in jobs]


def test_jobs_that_wait_are_computed_together_and_each_has_the_answer_it_has_alone(
    submit, work, queue, store, batches, alone, broker
):
    for number in range(5):
        submit(f"job{number}", seed=number, metrics=("fr-surrogate",) if number % 2 else ())
    work()
    assert (batches, alone) == ([[0, 1, 2, 3, 4]], [])
    for number in range(5):
        record = queue.ledger.get(f"job{number}")
        assert record.status is Status.FINISHED
        report, file = execute(record.order, store.read(record.id, "input"))
        assert store.read(record.id, "output") == file
        for one, other in zip(record.report.scores, report.scores, strict=True):
            assert (one.metric, one.samples, one.version) == (other.metric, other.samples, other.version)
            assert (one.original, one.defended) == pytest.approx((other.original, other.defended), abs=1e-3)
        timings = record.report.timings_ms
        assert list(timings) == ["queued", *report.timings_ms, "total"]
        assert sum(timings.values()) - timings["total"] <= timings["total"], "a job has its share of the time"
        assert record.created <= record.started <= record.ended
    assert not [key for key in broker.scan_iter() if key.startswith((b"rq:job", b"rq:execution", b"purifiqa:lease"))]
    assert not broker.zcard("purifiqa:open")
    assert not broker.zcard("rq:wip:purifiqa")


def test_a_lone_job_is_performed_as_always_and_at_once(submit, work, queue, batches, alone):
    submit("job1", seed=7)
    work()
    assert (batches, alone) == ([], [7])
    assert queue.ledger.get("job1").status is Status.FINISHED


def test_an_attack_is_always_alone_as_the_first_in_the_queue_and_among_those_that_wait(
    submit, work, queue, store, batches, alone
):
    def attack(job_id, seed):
        data = encode(torch.full((1, 3, 48, 40), 0.25), ImageFormat.PNG)
        store.put(job_id, "input", data)
        order = AttackOrder(attack=parse_attack("fgsm"), defense=DIFFPURE, metrics=("fr-surrogate",), seed=seed)
        return submitted(queue, job_id, order, check(data))

    attack("first", 1)
    attack("second", 2)
    submit("a", seed=3)
    attack("third", 4)
    submit("b", seed=5)
    work()
    assert (batches, alone) == ([[3, 5]], [1, 2, 4])
    assert statuses(queue, "first", "second", "a", "third", "b") == ["finished"] * 5


def test_what_does_not_match_keeps_its_place_and_the_first_is_served_first(submit, work, queue, batches, alone):
    submit("a", seed=1)
    submit("flip", parse_defense("flip"), seed=2)
    submit("b", seed=3)
    submit("large", side=64, seed=4)
    submit("c", seed=5)
    work()
    assert batches == [[1, 3, 5]]
    assert alone == [2, 4]
    ended = sorted(("a", "flip", "b", "large", "c"), key=lambda job: queue.ledger.get(job).ended)
    assert ended == ["a", "b", "c", "flip", "large"]


def test_owners_take_turns_in_what_is_drained(submit, work, here, batches, monkeypatch):
    monkeypatch.setattr(here.room, "_most", 3 * 48 * 40)
    for number in range(4):
        submit(f"flood{number}", seed=number, owner="flood")
    submit("other", seed=9, owner="other")
    work()
    assert batches[0] == [0, 9, 1]


def test_cheap_defenses_are_not_batched(submit, work, batches, alone):
    for number in range(3):
        submit(f"job{number}", parse_defense("flip"), seed=number)
    work()
    assert (batches, alone) == ([], [0, 1, 2])


def test_an_item_that_fails_alone_fails_and_its_neighbors_do_not(submit, work, queue, batches, alone):
    submit("job0", seed=0)
    submit("broken", data=b"not an image", seed=1)
    submit("job2", seed=2)
    work()
    assert statuses(queue, "job0", "broken", "job2") == ["finished", "failed", "finished"]
    assert queue.ledger.get("broken").failure.code == "unsupported-image"
    assert alone == [1], "the neighbors are still computed once"


def test_a_poison_item_lets_the_batch_fall_back_to_singles(submit, work, queue, alone, monkeypatch):
    real = worker_module.execute

    def poisoned(order, data, **options):
        if order.seed == 1:
            raise ValueError("poison")
        return real(order, data, **options)

    monkeypatch.setattr(worker_module, "execute", poisoned)
    monkeypatch.setattr(batch_module, "execute_together", lambda *_, **__: 1 / 0)
    for number in range(3):
        submit(f"job{number}", seed=number)
    work()
    assert statuses(queue, "job0", "job1", "job2") == ["finished", "failed", "finished"]
    assert alone == [0, 2]


def test_a_job_whose_input_is_gone_says_so_and_the_others_are_computed(submit, work, queue, store, batches):
    for number in range(3):
        submit(f"job{number}", seed=number)
    store.erase("job1")
    work()
    assert batches == [[0, 2]]
    assert statuses(queue, "job0", "job1", "job2") == ["finished", "failed", "finished"]
    assert queue.ledger.get("job1").failure.code == "input-lost"


def test_a_job_that_is_canceled_just_before_is_not_computed_and_one_canceled_meanwhile_stays_canceled(
    submit, work, queue, batches, monkeypatch
):
    spy = batch_module.execute_together

    def cancel_then_go_on(orders, **options):
        queue.cancel("job2")
        return spy(orders, **options)

    monkeypatch.setattr(batch_module, "execute_together", cancel_then_go_on)
    for number in range(4):
        submit(f"job{number}", seed=number)
    queue.cancel("job1")
    work()
    assert batches == [[0, 2, 3]]
    assert statuses(queue, *(f"job{n}" for n in range(4))) == ["finished", "canceled", "canceled", "finished"]


def test_a_batch_that_nobody_waits_for_any_more_is_given_up(submit, work, queue, alone, monkeypatch):
    def cancel_all(orders, progress, **options):
        for number in range(3):
            queue.cancel(f"job{number}")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.02)
            progress(0.5)
        raise AssertionError("it goes on for nobody")

    monkeypatch.setattr(batch_module, "execute_together", cancel_all)
    for number in range(3):
        submit(f"job{number}", seed=number)
    work()
    assert statuses(queue, "job0", "job1", "job2") == ["canceled"] * 3


def test_a_batch_that_takes_longer_than_one_of_its_jobs_may_is_given_up_and_each_is_done_alone(
    submit, work, here, queue, alone, monkeypatch
):
    def endless(orders, progress, **options):
        while True:
            progress(0.5)

    monkeypatch.setattr(batch_module, "execute_together", endless)
    monkeypatch.setattr(here.queue.ledger, "time_limit", lambda *_: 1)
    submit("job0", seed=0)
    submit("job1", seed=1)
    work()
    assert alone == [0, 1]
    assert statuses(queue, "job0", "job1") == ["finished"] * 2


def test_a_job_that_took_its_worker_along_is_done_alone(submit, work, queue, batches, alone):
    for number in range(4):
        submit(f"job{number}", seed=number)
    queue.put_back(queue.ledger.get("job1"), setbacks=1, front=False)
    work()
    assert batches == [[0, 2, 3]]
    assert alone == [1]
    queue.put_back(submit("job5", seed=5), setbacks=1)
    submit("job6", seed=6)
    work()
    assert alone == [1, 5, 6], "nobody goes along with it either"


def test_a_worker_that_has_to_end_gives_back_what_it_has_not_computed(submit, work, here, queue, monkeypatch, broker):
    def stop(*_, **__):
        here.stopping.request()
        here.stopping.request()
        raise StoppedError

    monkeypatch.setattr(batch_module, "execute_together", stop)
    for number in range(3):
        submit(f"job{number}", seed=number)
    work()
    assert statuses(queue, "job0", "job1", "job2") == ["queued"] * 3
    assert {queue.ledger.get(f"job{number}").setbacks for number in range(3)} == {0}
    assert [job_of(entry) for entry in queue.rq.job_ids] == ["job0", "job1", "job2"]
    assert not list(broker.scan_iter(b"purifiqa:lease:*"))


def test_a_lost_device_ends_the_worker_and_each_job_is_tried_again_alone(submit, work, here, queue, monkeypatch):
    def lost(*_, **__):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(batch_module, "execute_together", lost)
    for number in range(3):
        submit(f"job{number}", seed=number)
    work()
    assert here.stopping.requested
    assert statuses(queue, "job0", "job1", "job2") == ["queued"] * 3
    assert {queue.ledger.get(f"job{number}").setbacks for number in range(3)} == {1}
    assert [job_of(entry) for entry in queue.rq.job_ids] == ["job0", "job1", "job2"]
