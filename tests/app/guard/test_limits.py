"""How much one key, and all together, may ask for; and that it goes on afterwards."""

import shutil
import time
from types import SimpleNamespace

import pytest
from problems import problem

from app.documents import seconds_until_shorter
from app.guard.settings import GuardSettings
from workers.state.outlook import Outlook
from workers.state.queue import JobQueue


def seconds(answer):
    return int(answer.headers["retry-after"])


def test_a_key_that_sends_too_fast_is_told_to_wait_and_others_are_not(open_client, keys, submit, broker):
    client = open_client(rate=0.01, burst=3)
    for _ in range(3):
        assert submit(client, keys["alice"]).status_code == 202
    refused = submit(client, keys["alice"])
    problem(refused, 429, "rate-exceeded")
    assert 1 <= seconds(refused) <= 100
    assert submit(client, keys["bob"]).status_code == 202
    broker.hset("purifiqa:rate:alice", "at", time.time() - 101)
    assert submit(client, keys["alice"]).status_code == 202


def test_looking_after_jobs_costs_a_twentieth_of_an_order(open_client, keys):
    client = open_client(rate=0.01, burst=1)
    answers = [client.get("/jobs/x", headers=keys["alice"]).status_code for _ in range(21)]
    assert answers == [404] * 20 + [429]


def test_each_image_of_a_batch_counts_and_what_is_too_much_is_owed(open_client, keys, photo_png, submit, broker):
    client = open_client(rate=0.01, burst=3)
    five = [("image", photo_png)] * 5
    answer = client.post("/purify", files=five, data={"defense": "none", "metrics": ""}, headers=keys["alice"])
    assert answer.status_code == 202, "it has been received: it is not refused"
    refused = submit(client, keys["alice"])
    problem(refused, 429, "rate-exceeded")
    assert 290 < seconds(refused) <= 300, "two are owed, and one is wanted"
    assert broker.ttl("purifiqa:rate:alice") > 490, "a debt is not forgotten"
    assert submit(client, keys["bob"]).status_code == 202
    broker.hset("purifiqa:rate:alice", "at", time.time() - 10)  # a tenth of a turn has come back
    assert client.get(answer.headers["location"], headers=keys["alice"]).status_code == 200, "looking is not put off"
    broker.hset("purifiqa:rate:alice", "at", time.time() - 310)
    assert submit(client, keys["alice"]).status_code == 202


def test_a_batch_that_is_not_accepted_or_was_already_costs_what_any_request_does(open_client, keys, photo_png, broker):
    client = open_client(rate=0.01, burst=50, max_in_flight=5)

    def send(count, **headers):
        images = [("image", photo_png)] * count
        fields = {"defense": "none", "metrics": ""}
        return client.post("/purify", files=images, data=fields, headers=keys["alice"] | headers).status_code

    def left():
        return float(broker.hget("purifiqa:rate:alice", "tokens"))

    assert send(10) == 422, "more jobs than it may have"
    assert left() == pytest.approx(49, abs=0.1)
    assert send(4, **{"Idempotency-Key": "k"}) == 202
    assert left() == pytest.approx(45, abs=0.1)
    assert send(4, **{"Idempotency-Key": "k"}) == 202, "a replay"
    assert left() == pytest.approx(44, abs=0.1)
    assert send(4) == 429, "more than it may have at this moment"
    assert left() == pytest.approx(43, abs=0.1)


def test_no_more_is_owed_than_a_full_bucket(settings, broker):
    quota = JobQueue(settings).quota
    with broker.pipeline() as pipe:
        for _ in range(10):
            quota.owe_turns("alice", 1, 5, 30, pipe)
        pipe.execute()
    assert 5 <= quota.take_turn("alice", 1, 5) <= 6
    broker.hset("purifiqa:rate:alice", "at", time.time() - 6)
    assert quota.take_turn("alice", 1, 5) <= 1


@pytest.mark.parametrize("cost", [1, 0.5])
def test_a_turn_whose_answer_was_lost_is_taken_once(settings, broker, monkeypatch, cost):
    quota = JobQueue(settings).quota
    told = quota._take_turn

    def asked_again(**arguments):  # as the client of Redis does where the first answer was lost
        told(**arguments)
        return told(**arguments)

    monkeypatch.setattr(quota, "_take_turn", asked_again)
    assert [quota.take_turn("alice", 0.001, 2 * cost, cost) for _ in range(2)] == [0, 0]
    assert quota.take_turn("alice", 0.001, 2 * cost, cost) > 0


def test_a_rate_is_counted_for_all_api_processes_together_and_comes_back(settings, broker):
    one, other = (JobQueue(settings).quota for _ in range(2))
    assert [quota.take_turn("alice", 0.1, 2) for quota in (one, other, one)] == [0, 0, 10]
    assert one.take_turn("bob", 0.1, 2) == 0
    assert 0 < broker.ttl("purifiqa:rate:alice") <= 21
    broker.hset("purifiqa:rate:bob", "at", time.time() + 1000)  # a clock was put back
    assert one.take_turn("bob", 0.1, 2) == 0
    broker.hset("purifiqa:rate:alice", "at", time.time() - 10.5)
    assert other.take_turn("alice", 0.1, 2) == 0
    assert other.take_turn("alice", 0.1, 2) > 0


def test_a_key_with_too_many_jobs_waits_until_one_has_ended(open_client, keys, submit, broker):
    client = open_client(max_in_flight=2)
    places = [submit(client, keys["alice"]).headers["location"] for _ in range(2)]
    refused = submit(client, keys["alice"])
    problem(refused, 429, "too-many-jobs")
    assert seconds(refused) >= 1
    assert submit(client, keys["bob"]).status_code == 202
    client.post(f"{places[0]}/cancel", headers=keys["alice"])
    assert submit(client, keys["alice"]).status_code == 202
    problem(submit(client, keys["alice"]), 429, "too-many-jobs")
    client.delete(places[1], headers=keys["alice"])
    broker.zadd("purifiqa:inflight:alice", {places[1].rpartition("/")[2]: time.time() - 61})
    assert submit(client, keys["alice"]).status_code == 202


def test_a_refused_order_takes_no_place(open_client, keys, submit, broker):
    client = open_client(max_in_flight=2)
    for _ in range(5):
        problem(submit(client, keys["alice"], defense="jpeg2"), 422, "unknown-defense")
    assert broker.zcard("purifiqa:inflight:alice") == 0
    client.app.state.services.queue.rq = None  # whatever fails in the moment of submission
    assert submit(client, keys["alice"]).status_code == 500
    assert broker.zcard("purifiqa:inflight:alice") == 0


def test_places_are_taken_by_one_and_end(settings, broker):
    quota = JobQueue(settings).quota
    assert [quota.take_place("alice", 2, job) for job in "abc"] == [True, True, False]
    assert not quota.has_place("alice", 2)
    quota.give_place_back("alice", "a")
    assert quota.has_place("alice", 2)
    assert settings.queue_ttl < broker.ttl("purifiqa:inflight:alice") <= 2 * settings.queue_ttl, "they run after that"


def test_a_full_queue_is_said_before_the_body_is_read(open_client, submit):
    client = open_client(max_queued=1)
    assert submit(client).status_code == 202
    read = []

    def body():
        read.append(1)
        yield b"x"

    answer = client.post("/purify", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    problem(answer, 503, "queue-full")
    assert seconds(answer) >= 1
    assert not read


def test_one_job_too_many_is_said_before_the_body_is_read(open_client, keys, submit):
    client = open_client(max_in_flight=1)
    assert submit(client, keys["alice"]).status_code == 202
    headers = {"Content-Type": "multipart/form-data; boundary=b", **keys["alice"]}
    answer = client.post("/purify", content=iter(lambda: pytest.fail("it is read"), None), headers=headers)
    problem(answer, 429, "too-many-jobs")


@pytest.mark.parametrize("bound", ["max_queued", "max_in_flight"])
def test_an_order_that_is_sent_again_is_answered_however_little_room_there_is(open_client, keys, submit, bound):
    client = open_client(**{bound: 1})
    first = keys["alice"] | {"Idempotency-Key": "first"}
    job = submit(client, first).json()["id"]
    assert submit(client, keys["alice"] | {"Idempotency-Key": "second"}).status_code in (429, 503)
    again = submit(client, first)
    assert (again.status_code, again.json()["id"], again.headers["idempotency-replayed"]) == (202, job, "true")
    assert submit(client, keys["alice"] | {"Idempotency-Key": "second"}).status_code in (429, 503)
    assert submit(client, keys["bob"] | {"Idempotency-Key": "first"}).status_code == 202 + 301 * (bound == "max_queued")


def test_retry_after_grows_with_the_queue_and_shrinks_with_workers(settings):
    def services(depth, workers):
        presence, pace = SimpleNamespace(workers=lambda: ["w"] * workers), SimpleNamespace(expected=lambda: (1.0, 1.0))
        outlook = Outlook(None, presence, pace, lambda: depth, "")
        return SimpleNamespace(queue=SimpleNamespace(outlook=outlook), settings=settings)

    cases = ((0, 1), (100, 1), (1000, 1), (1000, 4), (1000, 0), (10**6, 1))
    assert [seconds_until_shorter(services(*one)) for one in cases] == [1, 10, 60, 25, 60, 60]


def test_a_disk_that_is_nearly_full_takes_no_image(open_client, submit, monkeypatch):
    client = open_client()
    free = GuardSettings.model_fields["min_free_bytes"].default
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("workers.state.store.shutil.disk_usage", lambda _: usage._replace(free=free + 100))
    problem(submit(client), 507, "store-full")
    monkeypatch.setattr("workers.state.store.shutil.disk_usage", lambda _: usage._replace(free=free + 10_000_000))
    assert submit(client).status_code == 202


def test_a_store_that_holds_all_it_may_takes_no_more(open_client, submit, photo_png):
    client = open_client(max_store_bytes=2 * len(photo_png) + 2_000)
    assert submit(client).status_code == 202
    answer = client.post("/purify", files={"image": photo_png + bytes(len(photo_png))})
    problem(answer, 507, "store-full")
    assert answer.json()["detail"].endswith("nothing was accepted.")


def test_a_refused_order_takes_no_room_from_others(open_client, submit, photo_png):
    client = open_client(max_store_bytes=2 * len(photo_png))
    for _ in range(3):
        problem(client.post("/purify", files={"image": b"x" * len(photo_png)}), 415, "unsupported-image")
        problem(submit(client, defense="nope"), 422, "unknown-defense")
    assert submit(client).status_code == 202


def test_the_store_is_measured_again(open_client, submit, photo_png):
    client = open_client(max_store_bytes=2 * len(photo_png))
    place = submit(client).headers["location"]
    problem(submit(client), 507, "store-full")
    client.delete(place)
    client.app.state.services.room._measured -= 31
    assert submit(client).status_code == 202
