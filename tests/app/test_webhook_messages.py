"""What a webhook says, and what is kept of each try to say it."""

import asyncio
import io
import json
import logging
import time

import pytest
from starlette.testclient import TestClient
from webhook_receiver import Receiver, delivery, order_and_end

from app.main import create_app
from app.webhooks import sender as sender_module
from app.webhooks.messages import message
from models.defenses import parse_defense
from models.images import ImageFacts, ImageFormat
from workers.orders import DefenseOrder, Kind
from workers.reports import Report, ResultImage
from workers.state.manifest import read_manifest
from workers.state.queue import JobQueue
from workers.state.record import Delivery, JobRecord, Origin, Status
from workers.state.store import Store
from workers.telemetry import logs


def record(status, **fields):
    image = ImageFacts(format=ImageFormat.PNG, width=9, height=9, mode="RGB", bytes=1, sha256="0" * 64, conversions=())
    order = DefenseOrder(kind=Kind.PURIFY, defense=parse_defense("none"))
    return JobRecord(id="j", status=status, order=order, image=image, created=0, ended=1e9, **fields)


def test_a_finished_job_tells_where_its_image_and_its_batch_are_and_when_it_ended():
    made = Report(image=ResultImage(format="png", width=9, height=9, bytes=1))
    told = json.loads(message(record(Status.FINISHED, report=made, origin=Origin(batch="b"))))
    assert told["type"] == "job.finished"
    assert told["timestamp"] == "2001-09-09T01:46:40+00:00"
    assert told["data"]["links"] == {"self": "/jobs/j", "image": "/jobs/j/image", "batch": "/batches/b"}
    for without in (record(Status.FINISHED, report=Report()), record(Status.FAILED)):
        assert json.loads(message(without))["data"]["links"] == {"self": "/jobs/j"}


def test_a_try_that_failed_is_kept_with_the_next_one_also_beside_the_image(hooked, broker, photo_png):
    patient = hooked.model_copy(update={"webhook_retry_seconds": 1000})
    with Receiver(503) as receiver, TestClient(create_app(patient)) as client:
        job = order_and_end(client, photo_png, f"http://127.0.0.1:{receiver.port}/")
        store, deadline = client.app.state.services.store, time.monotonic() + 15
        while (kept := read_manifest(store, job["id"]).delivery) is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        told = client.get(job["links"]["webhook"]).json()
    assert (kept.state, kept.attempts, kept.last_status) == ("pending", 1, 503)
    assert 800 <= kept.next_attempt - kept.last_attempt <= 1200
    assert Delivery(**{name: told[name] for name in Delivery.model_fields}) == kept
    assert broker.zscore("purifiqa:webhooks", job["id"]) == pytest.approx(kept.next_attempt, abs=30)


def test_more_webhooks_than_may_be_under_way_at_once_are_all_sent(hooked, photo_png, monkeypatch):
    monkeypatch.setattr(sender_module, "MAX_AT_ONCE", 1)
    with Receiver(200) as receiver, TestClient(create_app(hooked)) as client:
        for job in [order_and_end(client, photo_png, f"http://127.0.0.1:{receiver.port}/") for _ in range(3)]:
            delivery(client, job, "delivered")


def test_a_proxy_of_the_machine_is_not_used(hooked, photo_png, monkeypatch):
    """It would look the name up again, and connect to whatever it finds."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with Receiver(200) as receiver, TestClient(create_app(hooked)) as client:
        job = order_and_end(client, photo_png, f"http://127.0.0.1:{receiver.port}/")
        assert delivery(client, job, "delivered")["attempts"] == 1


def test_a_webhook_whose_job_has_expired_is_forgotten(hooked_client, broker):
    broker.zadd("purifiqa:webhooks", {"gone": 1})
    deadline = time.monotonic() + 15
    while broker.exists("purifiqa:webhooks"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_became_of_a_webhook_makes_no_record_of_a_job_that_was_erased_meanwhile(settings, broker):
    queue = JobQueue(settings)

    async def settle():
        await queue.deliveries.settle("gone", Delivery(state="pending", attempts=1), 10)
        await queue.broker.close()

    asyncio.run(settle())
    assert not list(broker.scan_iter("purifiqa:*"))


def test_a_broker_that_is_away_is_told_once_and_not_at_every_look(hooked, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sender_module, "OUTAGE_SECONDS", 0.01)

    async def run_for_a_while():
        looks, third = [], asyncio.Event()

        def look(most):
            looks.append(most)
            if len(looks) == 3:
                third.set()
            return take(most)

        queue = JobQueue(hooked.model_copy(update={"redis_url": f"unix://{tmp_path}/nowhere"}))
        take = queue.deliveries.take
        monkeypatch.setattr(queue.deliveries, "take", look)
        async with sender_module.sending(sender_module.Sender(hooked, queue, Store(tmp_path), [])):
            await third.wait()
        await queue.broker.close()

    asyncio.run(run_for_a_while())
    assert [one.getMessage().partition(",")[0] for one in caplog.records] == ["webhooks are waiting"]


def test_every_attempt_is_in_the_log_under_its_job_and_the_request_that_ordered_it(hooked_client, photo_png, caplog):
    caplog.set_level(logging.INFO)
    handler = logging.StreamHandler(stream := io.StringIO())
    handler.setFormatter(logs.formatter("json"))
    log = logging.getLogger("purifiqa.webhooks")
    log.addHandler(handler)
    try:
        with Receiver(500, 410) as receiver:
            hooked_client.headers["X-Request-ID"] = "shop-42"
            job = order_and_end(hooked_client, photo_png, f"http://127.0.0.1:{receiver.port}/")
            delivery(hooked_client, job, "refused")
    finally:
        log.removeHandler(handler)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [(one["level"], one["event"], one["attempts"]) for one in lines]
    assert told == [("info", "webhook pending: it answered 500", 1), ("warning", "webhook refused: it answered 410", 2)]
    assert {(one["job_id"], one["request_id"]) for one in lines} == {(job["id"], "shop-42")}
