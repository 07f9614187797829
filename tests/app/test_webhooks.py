"""Webhooks: signed as standard-webhooks, tried until they are heard, never sent where they should not be."""

import asyncio
import base64
import json
import ssl
import subprocess
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.testclient import TestClient
from webhook_receiver import SECRET, Receiver, delivery, order_and_end

from app.main import create_app
from app.settings import Settings
from app.webhooks import sender as sender_module
from app.webhooks.sender import Sender, sending
from app.webhooks.signing import WebhookSecretError, read_secrets
from app.webhooks.targets import ForbiddenTargetError, resolve
from workers.state.ledger import JobExpiredError, JobUnreadableError
from workers.state.queue import JobQueue
from workers.state.store import Store

OLD_SECRET = "whsec_" + base64.b64encode(b"the one before, also of 32 bytes").decode()


def of_bytes(size):
    return "whsec_" + base64.b64encode(bytes(size)).decode()


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
            await queue.close()

        asyncio.run(take_and_die())
        broker.zadd("purifiqa:webhooks", {job["id"]: 0})  # the lease ends
        with TestClient(create_app(hooked)) as client:
            assert delivery(client, job, "delivered")["attempts"] == 1


def test_a_rotated_secret_signs_beside_the_new_one(hooked, photo_png):
    both = hooked.model_copy(update={"webhook_secret": type(hooked.webhook_secret)(f"{SECRET} {OLD_SECRET}")})
    with Receiver(200) as receiver, TestClient(create_app(both)) as client:
        order_and_end(client, photo_png, f"http://127.0.0.1:{receiver.port}/")
        [message] = receiver.wait_for(1)
    for secret in (SECRET, OLD_SECRET):
        assert Webhook(secret).verify(message.body, message.headers)["type"] == "job.canceled"


def test_erasing_a_job_forgets_its_webhook(hooked_client, broker, photo_png):
    answer = hooked_client.post(
        "/purify", files={"image": photo_png}, data={"metrics": "", "webhook": "http://127.0.0.1:9999/"}
    )
    job = answer.json()
    assert hooked_client.get(job["links"]["webhook"]).json()["state"] == "pending"
    assert hooked_client.delete(job["links"]["self"]).status_code == 204
    assert hooked_client.get(job["links"]["webhook"]).status_code == 404
    assert not broker.exists("purifiqa:webhooks")


def test_without_a_secret_a_webhook_is_refused_with_what_is_missing(order):
    answer = order(webhook="https://example.org/")
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["field"] == "webhook"
    assert "PURIFIQA_WEBHOOK_SECRET" in answer.json()["detail"]


@pytest.mark.parametrize(
    "secret",
    ["short", "whsec_c2hvcnQ=", of_bytes(23), of_bytes(65), "whsec_#", f"{SECRET},{SECRET}", f"{SECRET} short"],
)
def test_a_weak_or_broken_secret_stops_the_service_at_its_start(settings, secret):
    with pytest.raises(WebhookSecretError, match="openssl rand"):
        create_app(Settings(webhook_secret=secret))


@pytest.mark.parametrize("size", [24, 64])
def test_a_secret_may_have_from_24_to_64_bytes(size):
    assert len(read_secrets(Settings(webhook_secret=of_bytes(size)))) == 1


def test_a_secret_may_be_in_a_file_that_must_hold_one(settings, tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert len(read_secrets(Settings(webhook_secret_file=file))) == 1
    file.write_text("\n")
    for wrong in (file, tmp_path / "missing"):
        with pytest.raises(WebhookSecretError, match="PURIFIQA_WEBHOOK_SECRET_FILE"):
            read_secrets(Settings(webhook_secret_file=wrong))


def test_no_secret_is_ever_shown(settings):
    assert SECRET not in repr(Settings(webhook_secret=SECRET))


def test_a_refused_url_is_a_problem_of_the_field(hooked_client, photo_png):
    answer = hooked_client.post(
        "/purify", files={"image": photo_png}, data={"metrics": "", "webhook": "https://a:b@example.org"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "webhook-forbidden"


def looked_up(monkeypatch, *answers):
    """Let each look-up of a name find the next of these lists of addresses; return the names that were asked for."""
    asked = []

    def getaddrinfo(host, port, **_):
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(2, 1, 6, "", (address, port)) for address in found]

    async def by_whoever_connects(_loop, host, port, **_):
        return getaddrinfo(host, port)

    monkeypatch.setattr("app.webhooks.targets.getaddrinfo", getaddrinfo)
    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", by_whoever_connects)
    return asked


def attempt_of(settings, monkeypatch, url, *more):
    """Try once to send something to a URL, and return what that led to."""
    monkeypatch.setattr(sender_module, "message", lambda _: json.dumps({"type": "job.finished"}))
    monkeypatch.setattr(sender_module, "message_id", lambda _: "msg_1")
    record = type("Record", (), {"origin": type("Origin", (), {"webhook": url})})
    sender = Sender(settings, JobQueue(settings), Store(settings.data_dir), read_secrets(settings), *more)
    return asyncio.run(sender._attempt(record))


def test_one_private_address_among_public_ones_is_enough_to_refuse(settings, monkeypatch):
    looked_up(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(ForbiddenTargetError):
        asyncio.run(resolve("https://example.org/", Settings()))


def test_a_name_is_looked_up_once_and_that_address_is_used(hooked, monkeypatch):
    """DNS rebinding: what the name means a moment later makes no difference."""
    with Receiver(200) as receiver:
        asked = looked_up(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
        attempt = attempt_of(hooked, monkeypatch, f"http://rebind.example:{receiver.port}/")
        assert attempt.is_success
        assert asked == ["rebind.example"]
        assert receiver.received[0].headers["host"] == f"rebind.example:{receiver.port}"


def test_of_several_addresses_the_first_that_answers_is_used_and_three_are_tried(hooked, monkeypatch):
    dead = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    with Receiver(200) as receiver:
        looked_up(monkeypatch, [*dead[:2], "127.0.0.1"], [*dead, "127.0.0.1"])
        url = f"http://many.example:{receiver.port}/"
        assert attempt_of(hooked, monkeypatch, url).is_success
        assert "cannot be reached" in attempt_of(hooked, monkeypatch, url).detail
    assert len(receiver.received) == 1


def test_a_name_that_is_never_found_takes_no_longer_than_a_receiver_may_and_keeps_nothing_from_its_end(
    hooked, monkeypatch
):
    monkeypatch.setattr("app.webhooks.targets.getaddrinfo", lambda *_, **__: time.sleep(60) or [])
    hasty, start = hooked.model_copy(update={"webhook_timeout": 0.1}), time.monotonic()
    assert attempt_of(hasty, monkeypatch, "http://slow.example/").detail == "it took too long"
    assert time.monotonic() - start < 30


def test_the_certificate_is_that_of_the_name_although_an_address_is_connected_to(hooked, tmp_path, monkeypatch):
    def certificate(name):
        files = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}",
             "-addext", f"subjectAltName=DNS:{name}", "-keyout", files[0], "-out", files[1]],
            check=True, capture_output=True,
        )  # fmt: skip
        return files

    key, pem = certificate("hooks.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem, key)
    looked_up(monkeypatch, ["127.0.0.1"])

    def attempt(name, port):
        trusting = ssl.create_default_context(cafile=str(pem))
        return attempt_of(hooked, monkeypatch, f"https://{name}:{port}/", trusting)

    with Receiver(200, tls=server) as receiver:
        assert attempt("hooks.example", receiver.port).is_success
        assert not attempt("other.example", receiver.port).is_success
    assert len(receiver.received) == 1


@pytest.mark.parametrize(("error", "is_kept"), [(JobUnreadableError, True), (JobExpiredError, False)])
def test_a_job_that_another_version_wrote_keeps_its_webhook_for_that_version_and_that_is_told_once(
    hooked, monkeypatch, caplog, error, is_kept
):
    def get(_, job_id):
        raise error(job_id)

    async def two_tries():
        queue, dropped = JobQueue(hooked), []

        async def drop(job_id):
            dropped.append(job_id)

        monkeypatch.setattr(JobQueue, "get", get)
        monkeypatch.setattr(queue.deliveries, "drop", drop)
        sender = Sender(hooked, queue, Store(hooked.data_dir), read_secrets(hooked))
        for _ in range(2):
            await sender._try("job1")
        await queue.close()
        return dropped

    assert asyncio.run(two_tries()) == ([] if is_kept else ["job1"] * 2)
    assert ["job1" in one.getMessage() for one in caplog.records] == ([True] if is_kept else [])


def test_a_sender_stops_when_the_service_does(hooked):
    async def start_and_stop():
        queue = JobQueue(hooked)
        async with asyncio.timeout(5), sending(Sender(hooked, queue, Store(hooked.data_dir), read_secrets(hooked))):
            await asyncio.sleep(0.1)
        await queue.close()

    asyncio.run(start_and_stop())
