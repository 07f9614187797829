"""Owners take turns: whoever floods the queue waits for himself."""

import pytest
from submitted import submitted

from models.defenses import parse_defense
from models.images import check
from workers.orders import DefenseOrder
from workers.state.queue import JobQueue


@pytest.fixture
def submit(settings, photo_png):
    """Submit a job of an owner; return its name."""
    queue, facts, count = JobQueue(settings), check(photo_png), {}

    def send(owner):
        count[owner] = count.get(owner, 0) + 1
        name = f"{owner}{count[owner]}"
        submitted(queue, name, DefenseOrder(kind="purify", defense=parse_defense("none")), facts, owner=owner)
        return name

    send.queue = queue
    return send


def waiting(broker):
    return [one.decode() for one in broker.lrange("rq:queue:purifiqa", 0, -1)]


def take(broker):
    return broker.lpop("rq:queue:purifiqa").decode()


def test_one_owner_is_served_in_order_of_arrival(submit, broker):
    assert [submit("") for _ in range(5)] == waiting(broker)


def test_a_flood_does_not_keep_others_waiting(submit, broker):
    for _ in range(5):
        submit("alice")
    for owner in ("bob", "carol", "bob"):
        submit(owner)
    assert waiting(broker) == ["alice1", "bob1", "carol1", "alice2", "bob2", "alice3", "alice4", "alice5"]


def test_who_has_nothing_waiting_waits_for_nobody_but_has_one_turn_in_a_round(submit, broker):
    for _ in range(4):
        submit("alice")
        submit("bob")
    assert [take(broker) for _ in range(3)] == ["alice1", "bob1", "alice2"]
    for owner in ("carol", "dave", "carol"):
        submit(owner)
    assert waiting(broker) == ["carol1", "dave1", "bob2", "alice3", "bob3", "carol2", "alice4", "bob4"]


def test_those_who_have_one_job_at_a_time_do_not_keep_a_queue_from_moving(submit, broker):
    for _ in range(10):
        submit("alice")
    order = []
    for _ in range(18):  # bob and carol send the next as soon as theirs is taken
        for owner in ("bob", "carol"):
            if not any(name.startswith(owner) for name in waiting(broker)):
                submit(owner)
        order.append(take(broker).rstrip("0123456789"))
    assert [order.count(owner) for owner in ("alice", "bob", "carol")] == [6, 6, 6]
    for start in range(3, 14):
        assert len(set(order[start : start + 5])) == 3, "each of the three is among any five"


def test_turns_that_nobody_took_are_not_saved_up(submit, broker):
    for _ in range(10):
        submit("alice")
    for _ in range(5):
        take(broker)
    for _ in range(3):
        submit("bob")
    assert waiting(broker)[:5] == ["bob1", "alice6", "alice7", "bob2", "alice8"]


def test_a_canceled_job_gives_its_turn_back(submit, broker):
    names = [submit("alice") for _ in range(20)]
    submit("bob")
    for name in names[1:]:
        submit.queue.cancel(name)
    assert waiting(broker) == ["alice1", "bob1"]
    for _ in range(3):
        submit("bob")
    submit("alice")
    assert waiting(broker) == ["alice1", "bob1", "bob2", "alice21", "bob3", "bob4"]


def test_jobs_that_were_put_back_at_the_front_stay_there(submit, broker):
    for _ in range(3):
        submit("alice")
    take(broker)
    submit.queue.put_back(submit.queue.ledger.get("alice1"))
    submit("bob")
    assert waiting(broker) == ["alice1--2", "bob1", "alice2", "alice3"]


def test_nothing_is_lost_or_doubled_and_nothing_stays_behind(submit, broker):
    sent, taken = set(), []
    for n in range(200):
        sent.add(submit("abcde"[n * n % 5]))
        if n % 4 == 0 and waiting(broker):
            taken.append(take(broker))
        if n % 7 == 0 and waiting(broker):
            name = waiting(broker)[len(waiting(broker)) // 2]
            submit.queue.cancel(name)
            sent.discard(name)
    left = waiting(broker)
    assert len(left) == len(set(left))
    assert set(left) | set(taken) == sent | (set(taken) - sent)
    assert broker.zcard("purifiqa:rounds") <= len(left) + len(taken)
    broker.delete("rq:queue:purifiqa")
    submit("alice")
    assert broker.zcard("purifiqa:rounds") == broker.hlen("purifiqa:next-rounds") == 1
    assert broker.ttl("purifiqa:rounds") > 0
    assert broker.ttl("purifiqa:next-rounds") > 0
