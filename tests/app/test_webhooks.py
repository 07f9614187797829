"""Webhooks: signed as standard-webhooks, tried until they are heard, never sent where they should not be."""

import asyncio
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.testclient import TestClient
from webhook_receiver import OLD_SECRET, SECRET, Receiver, delivery, order_and_end

from app.main import create_app
from app.webhooks.sender import Sender, sending
from app.webhooks.signing import read_secrets
from workers.state.ledger import JobExpiredError, JobUnreadableError
from workers.state.queue import JobQueue
from workers.state.store import Store


def test_the_end_of_a_job_is_told_once_signed_and_thin(hooked_client, photo_png):
    with Receiver(204) as receiver:
        job = order_and_end(hooked_client, photo_png, f"http://127.0.0.1:{receiver.port}/hook?a=b")
        [message] = receiver.wait_for(1)
        found = delivery(hooked_client, job, "delivered")
    body = Webhook(SECRET).verify(message.body, message.headers)
    assert message.path == "/hook?a=b"
    assert message.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert message.headers["content-type"] == "application/json"
    assert message.headers["webhook-id"] == found["id"] == f"msg_{job['id']}"
    assert set(body) == {"type", "timestamp", "data"}
    assert body["type"] == "job.canceled"
    links = {"self": job["links"]["self"]}
    assert body["data"] == {"id": job["id"], "kind": "purify", "status": "canceled", "links": links}
    assert (found["attempts"], found["last_status"], found["next_attempt"]) == (1, 204, None)
    assert len(receiver.received) == 1


def test_a_changed_body_or_another_secret_does_not_verify(hooked_client, photo_png):
    with Receiver(200) as receiver:
        order_and_end(hooked_client, photo_png, f"http://127.0.0.1:{receiver.port}/")
        [message] = receiver.wait_for(1)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(message.body.replace(b"canceled", b"finished"), message.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD_SECRET).verify(message.body, message.headers)


def test_what_is_not_heard_is_tried_again_under_the_same_id(hooked_client, photo_png):
    with Receiver(307, 300, 200, headers={"Location": "/elsewhere"}) as receiver:
        job = order_and_end(hooked_client, photo_png, f"http://127.0.0.1:{receiver.port}/hook")
        found = delivery(hooked_client, job, "delivered")
    assert found["attempts"] == 3
    assert {message.path for message in receiver.received} == {"/hook"}, "no redirect is followed, not even a 307"
    assert {message.headers["webhook-id"] for message in receiver.received} == {f"msg_{job['id']}"}
    for message in receiver.received:
        Webhook(SECRET).verify(message.body, message.headers)


def test_it_is_given_up_after_the_last_attempt_and_leaves_nothing_to_send(hooked_client, broker, photo_png):
    with Receiver(503) as receiver:
        job = order_and_end(hooked_client, photo_png, f"http://127.0.0.1:{receiver.port}/")
        found = delivery(hooked_client, job, "failed")
        assert (found["attempts"], found["last_status"], found["detail"]) == (3, 503, "it answered 503")
        assert not broker.exists("purifiqa:webhooks")
    assert len(receiver.received) == 3


def test_each_wait_is_three_times_the_one_before_up_to_six_hours_give_or_take_a_fifth(hooked):
    settings = hooked.model_copy(update={"webhook_retry_seconds": 10})
    sender = Sender(settings, JobQueue(settings), Store(settings.data_dir), [])
    for tried, seconds in ((1, 10), (2, 30), (3, 90), (50, 21_600)):
        waits = [sender._wait(tried) / seconds for _ in range(100)]
        assert 0.8 <= min(waits) < 0.95 < 1.05 < max(waits) <= 1.2


def test_410_stops_it_at_once(hooked_client, photo_png):
    with Receiver(410) as receiver:
        job = order_and_end(hooked_client, photo_png, f"http://127.0.0.1:{receiver.port}/")
        assert delivery(hooked_client, job, "refused")["attempts"] == 1
    assert len(receiver.received) == 1


def test_a_receiver_that_does_not_answer_or_is_not_there_is_no_success(hooked_client, hooked, photo_png):
    with Receiver(200, delay=1.5) as receiver:
        job = order_and_end(hooked_client, photo_png, f"http://127.0.0.1:{receiver.port}/")
        receiver.wait_for(1)
        deadline = time.monotonic() + 10
        while not (found := hooked_client.get(job["links"]["webhook"]).json())["attempts"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert (found["last_status"], found["detail"]) == (None, "it took too long")
        hooked_client.delete(job["links"]["self"])
    job = order_and_end(hooked_client, photo_png, f"http://127.0.0.1:{receiver.port}/")
    assert "cannot be reached" in delivery(hooked_client, job, "failed")["detail"]


def test_several_senders_send_it_once(hooked, photo_png):
    with Receiver(200) as receiver, TestClient(create_app(hooked)) as one, TestClient(create_app(hooked)):
        jobs = [order_and_end(one, photo_png, f"http://127.0.0.1:{receiver.port}/{n}") for n in range(10)]
        for job in jobs:
            delivery(one, job, "delivered")
        assert sorted(message.path for message in receiver.received) == [f"/{n}" for n in range(10)]


def test_what_a_sender_that_died_had_taken_is_sent_by_another(hooked, broker, photo_png):
    off = hooked.model_copy(update={"webhook_secret_file": None})
    with Receiver(200) as receiver:
        with TestClient(create_app(hooked)) as client:
            url = f"http://127.0.0.1:{receiver.port}/"
            job = client.post("/purify", files={"image": photo_png}, data={"metrics": "", "webhook": url}).json()
        queue = JobQueue(off)
        queue.cancel(job["id"])

        async def take_and_die():
            assert await queue.deliveries.take(5) == [job["id"]]
            assert await queue.deliveries.take(5) == [], "the lease keeps others away"
            await queue.broker.close()

        asyncio.run(take_and_die())
        broker.zadd("purifiqa:webhooks", {job["id"]: 0})  # the lease ends
        with TestClient(create_app(hooked)) as client:
            assert delivery(client, job, "delivered")["attempts"] == 1


def test_erasing_a_job_forgets_its_webhook(hooked_client, broker, photo_png):
    answer = hooked_client.post(
        "/purify", files={"image": photo_png}, data={"metrics": "", "webhook": "http://127.0.0.1:9999/"}
    )
    job = answer.json()
    assert hooked_client.get(job["links"]["webhook"]).json()["state"] == "pending"
    assert hooked_client.delete(job["links"]["self"]).status_code == 204
    assert hooked_client.get(job["links"]["webhook"]).status_code == 404
    assert not broker.exists("purifiqa:webhooks")


def test_a_refused_url_is_a_problem_of_the_field(hooked_client, photo_png):
    answer = hooked_client.post(
        "/purify", files={"image": photo_png}, data={"metrics": "", "webhook": "https://a:b@example.org"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "webhook-forbidden"


@pytest.mark.parametrize(("error", "is_kept"), [(JobUnreadableError, True), (JobExpiredError, False)])
def test_a_job_that_another_version_wrote_keeps_its_webhook_for_that_version_and_that_is_told_once(
    hooked, monkeypatch, caplog, error, is_kept
):
    def get(job_id):
        raise error(job_id)

    async def two_tries():
        queue, dropped = JobQueue(hooked), []

        async def drop(job_id):
            dropped.append(job_id)

        monkeypatch.setattr(queue.ledger, "get", get)
        monkeypatch.setattr(queue.deliveries, "drop", drop)
        sender = Sender(hooked, queue, Store(hooked.data_dir), read_secrets(hooked))
        for _ in range(2):
            await sender._try("job1")
        await queue.broker.close()
        return dropped

    assert asyncio.run(two_tries()) == ([] if is_kept else ["job1"] * 2)
    assert ["job1" in one.getMessage() for one in caplog.records] == ([True] if is_kept else [])


def test_a_sender_stops_when_the_service_does(hooked):
    async def start_and_stop():
        queue = JobQueue(hooked)
        async with asyncio.timeout(5), sending(Sender(hooked, queue, Store(hooked.data_dir), read_secrets(hooked))):
            await asyncio.sleep(0.1)
        await queue.broker.close()

    asyncio.run(start_and_stop())
