"""When Redis has lost everything, clients find what they were promised: batches, idempotency keys, webhooks, quotas."""

import json
import os
import re
import threading
import time

import pytest

from app import intake
from workers.recovery import janitor as janitor_module
from workers.recovery.janitor import Janitor
from workers.recovery.survey import Survey
from workers.reports import Report
from workers.state.manifest import close_manifest, note_delivery
from workers.state.queue import JobQueue
from workers.state.record import Delivery, Failure

WEBHOOK = "https://example.org/hook"


@pytest.fixture
def lose_everything(broker, monkeypatch):
    """Empty Redis, and let the janitor of a client's service restore what it can."""
    monkeypatch.setattr(janitor_module, "ACCEPTING_SECONDS", 0)

    def lose(client):
        broker.flushall()
        services = client.app.state.services
        Janitor(services.queue, Survey(services.queue.broker.connection), services.store, "w1").tidy_store()

    return lose


def send(client, *images, headers=None):
    files = [("image", image) for image in images]
    return client.post("/purify", files=files, data={"defense": "jpeg", "metrics": ""}, headers=headers or {})


def ended(client, job_id):
    """End a job as a worker does."""
    services = client.app.state.services
    record = services.queue.ledger.start(job_id, placement=1)
    services.queue.finish(record, Report(timings_ms={"total": 1}))
    close_manifest(services.store, services.queue.ledger.get(job_id))


def test_all_that_was_accepted_is_on_the_disk_itself(idle_client, monkeypatch, photo_png):
    on_disk, fsync = set(), os.fsync

    def noted(handle):
        fsync(handle)
        on_disk.add(os.fstat(handle).st_ino)

    monkeypatch.setattr("workers.state.store.os.fsync", noted)
    for item in send(idle_client, photo_png, photo_png).json()["items"]:
        folder = idle_client.app.state.services.store.path(item["job"]["id"], "any").parent
        files = {file.name: file.stat().st_ino for file in folder.iterdir()}
        assert set(files) == {"input", "manifest", "batch"}
        assert set(files.values()) <= on_disk


def test_a_batch_comes_back_whole_with_the_images_that_were_refused(idle_client, lose_everything, photo_png, broker):
    batch = send(idle_client, photo_png, b"no image", photo_png).json()
    ended(idle_client, batch["items"][0]["job"]["id"])
    broker.lrem("rq:queue:purifiqa", 1, batch["items"][0]["job"]["id"])  # taken, as a worker does
    before = idle_client.get(batch["links"]["self"]).json()
    lose_everything(idle_client)
    after = idle_client.get(batch["links"]["self"]).json()
    assert after == before
    assert after["counts"] == {"finished": 1, "failed": 1, "queued": 1}
    assert broker.ttl(f"purifiqa:batch:{batch['id']}") > 0
    assert broker.ttl(f"purifiqa:expired:batch-{batch['id']}") > broker.ttl(f"purifiqa:batch:{batch['id']}")
    assert idle_client.delete(batch["links"]["self"]).status_code == 204
    lose_everything(idle_client)
    assert idle_client.get(batch["links"]["self"]).status_code == 404, "erased is erased"


def test_a_batch_is_not_told_before_all_of_it_is_there(idle_client, broker, monkeypatch, photo_png):
    batch = send(idle_client, photo_png, photo_png, photo_png).json()
    services = idle_client.app.state.services
    first, *others = [item["job"]["id"] for item in batch["items"]]
    monkeypatch.setattr(janitor_module, "ACCEPTING_SECONDS", 3600)
    old = time.time() - 7200
    os.utime(services.store.path(others[0], "any").parent, (old, old))  # the others were written to just now
    broker.flushall()
    Janitor(services.queue, Survey(services.queue.broker.connection), services.store, "w1").tidy_store()
    told = idle_client.get(batch["links"]["self"]).json()
    assert told["counts"] == {"queued": 3}
    assert first in [item["job"]["id"] for item in told["items"]]


def test_a_batch_that_is_written_slowly_is_not_taken_for_lost_and_keeps_its_key_and_places(
    guarded, keys, broker, monkeypatch, photo_png
):
    services = guarded.app.state.services
    put, written = services.store.put, []
    monkeypatch.setattr(intake, "HOLD_SECONDS", -1)

    def slow(job_id, role, *more, **options):
        digest = put(job_id, role, *more, **options)
        if role == "input":
            written.append(job_id)
        [key] = broker.keys("purifiqa:idempotency:*")
        if role == "batch" and len(written) == 2:  # a minute passes
            long_ago = time.time() - 100
            os.utime(services.store.path(written[0], "any").parent, (long_ago, long_ago))
            broker.zadd("purifiqa:inflight:alice", dict.fromkeys(broker.zrange("purifiqa:inflight:alice", 0, -1), 1))
            broker.expire(key, 2)
        if role == "batch" and len(written) == 3:
            Janitor(services.queue, Survey(services.queue.broker.connection), services.store, "w1").tidy_store()
            assert not services.queue.ledger.exists(written[0])
            assert not services.queue.quota.has_place("alice", 3)
            assert broker.ttl(key) > 2
        return digest

    monkeypatch.setattr(services.store, "put", slow)
    headers = keys["alice"] | {"Idempotency-Key": "k"}
    batch = send(guarded, photo_png, photo_png, photo_png, headers=headers).json()
    assert [item["job"]["id"] for item in batch["items"]] == written
    assert services.queue.depth() == 3


def test_who_has_lost_its_key_while_it_wrote_stops_writing(idle_client, broker, monkeypatch, photo_png):
    services = idle_client.app.state.services
    put, written = services.store.put, []
    monkeypatch.setattr(intake, "HOLD_SECONDS", -1)

    def slow(job_id, role, *more, **options):
        if role == "input":
            written.append(job_id)
            if len(written) == 1:  # its key ends, and another request with it is accepted
                broker.delete(*broker.keys("purifiqa:idempotency:*"))
                assert send(idle_client, photo_png, photo_png, headers={"Idempotency-Key": "k"}).status_code == 202
        return put(job_id, role, *more, **options)

    monkeypatch.setattr(services.store, "put", slow)
    answer = send(idle_client, photo_png, photo_png, headers={"Idempotency-Key": "k"})
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert len(written) == 1 + 2
    assert services.queue.depth() == 2
    assert sorted(services.store.owners()) == sorted(written[1:])


def test_what_is_erased_while_it_is_restored_stays_erased(idle_client, lose_everything, monkeypatch, photo_png):
    batch = send(idle_client, photo_png, photo_png).json()

    def restored(queue, record, *more, original=JobQueue.restore):
        done = original(queue, record, *more)
        if more and more[0]:  # the batch is there: its owner asks for it and erases it, at once
            assert idle_client.delete(batch["links"]["self"]).status_code == 204
        return done

    monkeypatch.setattr(JobQueue, "restore", restored)
    lose_everything(idle_client)
    assert idle_client.get(batch["links"]["self"]).status_code == 404
    services = idle_client.app.state.services
    assert services.queue.depth() == 0
    assert not list(services.store.owners())


def test_erasing_a_restored_job_leaves_its_key_with_the_job_that_has_it_now(
    idle_client, lose_everything, broker, photo_png
):
    key = {"Idempotency-Key": "k"}
    first = send(idle_client, photo_png, headers=key).headers["location"]
    broker.flushall()
    second = send(idle_client, photo_png, headers=key).headers["location"]
    services = idle_client.app.state.services
    Janitor(services.queue, Survey(services.queue.broker.connection), services.store, "w1").tidy_store()
    assert idle_client.get(first).status_code == 200
    assert idle_client.delete(first).status_code == 204
    assert send(idle_client, photo_png, headers=key).headers["location"] == second
    assert idle_client.delete(second).status_code == 204
    assert send(idle_client, photo_png, headers=key).headers["location"] not in (first, second)


def test_an_order_that_was_answered_from_the_store_comes_back_with_its_answer(idle_client, lose_everything, photo_png):
    ended(idle_client, send(idle_client, photo_png).json()["id"])
    for answer in (send(idle_client, photo_png), send(idle_client, photo_png, photo_png)):
        before = idle_client.get(answer.headers["location"]).json()
        assert before["status"] == "finished"
        lose_everything(idle_client)
        assert idle_client.get(answer.headers["location"]).json() == before


def test_the_same_request_still_gets_the_same_answer(idle_client, lose_everything, photo_png, broker):
    one, many = {"Idempotency-Key": "one"}, {"Idempotency-Key": "many"}
    first = send(idle_client, photo_png, headers=one).headers["location"]
    batch = send(idle_client, photo_png, photo_png, headers=many).headers["location"]
    lose_everything(idle_client)
    assert send(idle_client, photo_png, headers=one).headers["location"] == first
    again = send(idle_client, photo_png, photo_png, headers=many)
    assert (again.headers["location"], again.headers["Idempotency-Replayed"]) == (batch, "true")
    assert send(idle_client, photo_png, photo_png, headers=one).status_code == 422, "another request"
    keys = list(broker.scan_iter("purifiqa:idempotency:*"))
    assert len(keys) == 2
    assert all(0 < broker.ttl(key) <= 86_400 for key in keys)


@pytest.mark.parametrize("status", ["finished", "failed", "canceled"])
def test_who_follows_a_job_that_had_ended_is_told_its_end(idle_client, lose_everything, photo_png, status):
    client, services = idle_client, idle_client.app.state.services
    job = send(client, photo_png).json()
    if status == "finished":
        ended(client, job["id"])
    elif status == "failed":
        services.queue.fail(services.queue.ledger.get(job["id"]), Failure(code="time-limit", detail="too long"))
        close_manifest(services.store, services.queue.ledger.get(job["id"]))
    else:
        assert client.post(f"{job['links']['self']}/cancel").status_code == 200
    lose_everything(client)
    patience = threading.Timer(10, services.queue.broker.stop_waiting)  # else it would wait for an end that never comes
    patience.start()
    told = client.get(job["links"]["events"]).text
    patience.cancel()
    assert re.findall("event: (.*)", told) == ["queued", status]
    last = json.loads(re.findall("data: (.*)", told)[-1])
    assert last == client.get(job["links"]["self"]).json()
    after = re.findall("id: (.*)", told)[-1]
    assert client.get(job["links"]["events"], headers={"Last-Event-ID": after}).status_code == 204


def test_a_key_that_has_had_its_day_does_not_come_back(idle_client, lose_everything, photo_png, broker, monkeypatch):
    place = send(idle_client, photo_png, headers={"Idempotency-Key": "old"}).headers["location"]
    monkeypatch.setattr("workers.state.claims.KEPT_SECONDS", 0)
    lose_everything(idle_client)
    assert idle_client.get(place).status_code == 200
    assert not list(broker.scan_iter("purifiqa:idempotency:*"))


@pytest.mark.parametrize(("delivery", "due"), [
    (None, True), (Delivery(state="pending", attempts=2, next_attempt=9e9), True),
    (Delivery(state="delivered", attempts=1), False), (Delivery(state="failed", attempts=3), False),
])  # fmt: skip
def test_a_webhook_is_sent_unless_it_was_and_its_attempts_are_remembered(
    idle_client, lose_everything, photo_png, broker, monkeypatch, delivery, due
):
    monkeypatch.setattr("app.submission.chosen_webhook", lambda *_: WEBHOOK)
    answer = idle_client.post(
        "/purify", files={"image": photo_png}, data={"defense": "none", "metrics": "", "webhook": WEBHOOK}
    )
    job = answer.json()
    ended(idle_client, job["id"])
    if delivery:
        note_delivery(idle_client.app.state.services.store, job["id"], delivery)
    lose_everything(idle_client)
    told = idle_client.get(job["links"]["webhook"]).json()
    expected = delivery or Delivery(state="pending")
    assert (told["state"], told["attempts"]) == (expected.state, expected.attempts)
    score = broker.zscore("purifiqa:webhooks", job["id"])
    assert (score is not None) == due
    assert not due or score == (expected.next_attempt or pytest.approx(time.time(), abs=60))


def test_restored_jobs_count_again_for_who_may_have_only_so_many(open_client, keys, lose_everything, photo_png, broker):
    client = open_client(max_in_flight=2)
    for _ in range(2):
        assert send(client, photo_png, headers=keys["alice"]).status_code == 202
    lose_everything(client)
    assert broker.zcard("purifiqa:inflight:alice") == 2
    assert broker.ttl("purifiqa:inflight:alice") > 0
    assert send(client, photo_png, headers=keys["alice"]).status_code == 429
    assert send(client, photo_png, headers=keys["bob"]).status_code == 202
