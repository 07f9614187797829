"""Whose turn it is, on a real broker."""

import pytest

from models.defenses import parse_defense
from models.images import ImageFacts, ImageFormat
from workers.consumer import Consumer
from workers.jobs import Kind, Order
from workers.record import Origin
from workers.turns import Turns

IMAGE = ImageFacts(format=ImageFormat.PNG, width=64, height=48, mode="RGB", bytes=10, sha256="0" * 64, conversions=())


@pytest.fixture
def wait(queue):
    """Put jobs into the queue: a name is its owner and a number."""

    def put(*jobs):
        for job in jobs:
            queue.submit(job, Order(kind=Kind.PURIFY, defense=parse_defense("none")), IMAGE, Origin(owner=job[:-1]))

    return put


def served(queue, broker, count):
    turns, order = Turns(broker, queue.rq.key), []
    for _ in range(count):
        turns.take()
        order.append(broker.lpop(queue.rq.key).decode())
    return order


def test_owners_are_served_in_turn_and_each_ones_jobs_in_their_order(queue, wait, broker):
    wait(*(f"flood{n}" for n in range(5)), "b0", "b1", "c0")
    assert served(queue, broker, 8) == ["b0", "c0", "flood0", "b1", "flood1", "flood2", "flood3", "flood4"]


def test_without_keys_the_queue_keeps_its_order(queue, broker):
    for n in range(4):
        queue.submit(f"job{n}", Order(kind=Kind.PURIFY, defense=parse_defense("none")), IMAGE)
    assert served(queue, broker, 4) == [f"job{n}" for n in range(4)]


def test_a_job_that_was_put_back_is_the_next_of_its_owner(queue, wait, broker):
    wait("a0", "a1", "b0")
    queue.put_back(queue.get("a1"))
    assert served(queue, broker, 3) == ["a1--2", "b0", "a0"]


def test_nothing_is_lost_or_doubled_and_an_empty_queue_is_no_error(queue, wait, broker):
    turns = Turns(broker, queue.rq.key)
    turns.take()
    wait("b0", "a0", "c0", "a1")
    for _ in range(7):
        turns.take()
    assert sorted(broker.lrange(queue.rq.key, 0, -1)) == [b"a0", b"a1", b"b0", b"c0"]
    broker.delete("purifiqa:job:a0")
    turns.take()
    assert broker.llen(queue.rq.key) == 4, "an entry whose record is gone stays one"


def test_a_worker_gives_turns(queue, wait, broker, monkeypatch):
    order = []
    monkeypatch.setattr("rq.SimpleWorker.execute_job", lambda self, job, queue: order.append(job.args[0]))
    wait("flood0", "flood1", "flood2", "b0")
    worker = Consumer([queue.rq], connection=broker, serializer="json", log_job_description=False)
    worker.work(burst=True, logging_level="CRITICAL")
    assert order == ["b0", "flood0", "flood1", "flood2"]
