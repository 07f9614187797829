"""`GET /jobs/{id}/events` through a real socket: what happens is told as it happens, once, in order."""

import asyncio
import json
import signal
import threading
import time
from types import SimpleNamespace

import httpx2
import pytest
import redis
import uvicorn
from conftest import served

from app.command.parts import free_port
from app.main import create_app
from app.routes.events import _data
from app.server import _Server
from workers.reports import Report
from workers.state import events as events_module
from workers.state.ledger import JobUnknownError
from workers.state.queue import JobQueue
from workers.state.record import Status


@pytest.fixture
def address(settings):
    """A service of its own, without a worker: the test plays the worker."""
    with served(create_app(settings), log_level="warning") as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def played(settings):
    """The queue as a worker has it."""
    return JobQueue(settings, patient=True)


def submit(address, photo_png, **fields):
    return httpx2.post(f"{address}/purify", files={"image": photo_png}, data={"metrics": "", **fields}).json()


def read(lines):
    """Yield (event, id, data) of a stream of lines."""
    event = {}
    for line in lines:
        if line == "" and "data" in event:
            yield event["event"], event["id"], json.loads(event["data"])
            event = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value


def follow(address, job, **headers):
    with httpx2.stream("GET", address + job["links"]["events"], headers=headers, timeout=20) as answer:
        assert answer.status_code == 200
        yield answer.headers
        yield from read(answer.iter_lines())


def order_of(id_):
    return tuple(map(int, id_.split("-")))


def test_everything_is_told_as_it_happens_and_the_stream_ends_with_the_job(address, played, photo_png):
    job = submit(address, photo_png)
    stream = follow(address, job)
    headers = next(stream)
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-accel-buffering"] == "no"
    assert headers["cache-control"] == "no-store"
    seen = [next(stream)]
    record = played.ledger.start(job["id"], holder="w")  # what follows happens while the stream is open
    seen.append(next(stream))
    for fraction in (0.25, 0.5):
        played.ledger.keep(record, "w", fraction)
        seen.append(next(stream))
    played.finish(record, Report(timings_ms={"total": 1.0}))
    seen += stream
    assert [event for event, _, _ in seen] == ["queued", "running", "progress", "progress", "finished"]
    assert [data["progress"] for _, _, data in seen] == [0, 0, 0.25, 0.5, 1]
    ids = [order_of(id_) for _, id_, _ in seen]
    assert ids == sorted(set(ids))
    last = seen[-1][2]
    assert last == httpx2.get(address + job["links"]["self"]).json()
    assert seen[0][2]["links"]["self"] == job["links"]["self"]


def test_who_comes_late_is_told_all_and_who_comes_back_only_the_rest(address, played, photo_png):
    job = submit(address, photo_png)
    played.ledger.keep(played.ledger.start(job["id"], holder="w"), "w", 0.5)
    played.cancel(job["id"])
    _, *events = follow(address, job)
    assert [event for event, _, _ in events] == ["queued", "running", "progress", "canceled"]
    _, *rest = follow(address, job, **{"Last-Event-ID": events[1][1]})
    assert rest == events[2:]


def test_who_has_seen_all_that_has_happened_so_far_is_told_what_happens_next(address, played, photo_png):
    job = submit(address, photo_png)
    stream = follow(address, job)
    next(stream)
    _, seen, _ = next(stream)
    stream = follow(address, job, **{"Last-Event-ID": seen})
    next(stream)
    played.cancel(job["id"])
    assert [event for event, _, _ in stream] == ["canceled"]


def test_a_stream_after_an_id_that_is_yet_to_come_ends_with_the_job(address, played, photo_png):
    job = submit(address, photo_png)

    async def told():
        async with asyncio.timeout(10):
            async for change in played.events.follow(job["id"], "9999999999999-0"):
                assert change is None
                played.cancel(job["id"])
        await played.broker.close()

    asyncio.run(told())


def test_who_has_seen_the_end_is_told_not_to_come_back(address, played, photo_png):
    job = submit(address, photo_png)
    played.cancel(job["id"])
    _, *events = follow(address, job)
    place = address + job["links"]["events"]
    assert httpx2.get(place, headers={"Last-Event-ID": events[-1][1]}).status_code == 204
    wrong = httpx2.get(place, headers={"Last-Event-ID": "newest"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["field"] == "Last-Event-ID"


def test_unknown_and_expired_jobs_are_problems(address, broker, photo_png):
    assert httpx2.get(f"{address}/jobs/nosuchjob/events").status_code == 404
    job = submit(address, photo_png)
    broker.delete(f"purifiqa:job:{job['id']}")
    answer = httpx2.get(address + job["links"]["events"])
    assert answer.status_code == 410
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_stream_of_an_erased_job_ends(address, played, photo_png, monkeypatch):
    monkeypatch.setattr(events_module, "BLOCK_SECONDS", 0.1)
    job = submit(address, photo_png)
    stream = follow(address, job)
    next(stream)
    assert next(stream)[0] == "queued"
    assert httpx2.delete(address + job["links"]["self"]).status_code == 204
    assert list(stream) == []


def test_a_quiet_stream_pings_and_survives_a_broker_that_hangs_up(address, broker, played, photo_png, monkeypatch):
    monkeypatch.setattr(events_module, "BLOCK_SECONDS", 0.1)
    monkeypatch.setattr("app.routes.events.PING_SECONDS", 0.15)
    job = submit(address, photo_png)
    with httpx2.stream("GET", address + job["links"]["events"], timeout=20) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        while next(lines) != ": ping":
            pass
        broker.client_kill_filter(_type="normal", skipme=True)
        broker.client_kill_filter(_type="normal", skipme=True)
        while next(lines) != ": ping":
            pass
        played.cancel(job["id"])
        assert [event for event, _, _ in read(lines)] == ["canceled"]


@pytest.mark.parametrize("found", [JobUnknownError("j"), redis.ConnectionError("away"), Status.RUNNING])
def test_an_end_whose_record_cannot_be_shown_is_told_with_where_it_was(found):
    def get(_):
        if isinstance(found, Exception):
            raise found
        return SimpleNamespace(status=found)

    services = SimpleNamespace(queue=SimpleNamespace(ledger=SimpleNamespace(get=get)))
    told = json.loads(asyncio.run(_data(services, "j", events_module.Change("1-0", Status.FINISHED, 1.0))))
    links = {"self": "/jobs/j", "events": "/jobs/j/events"}
    assert told == {"id": "j", "status": "finished", "progress": 1.0, "links": links}


@pytest.fixture
def crowded(settings, monkeypatch):
    """A service with room for one follower, and its address."""
    monkeypatch.setattr(events_module, "BLOCK_SECONDS", 0.1)
    app, port = create_app(settings.model_copy(update={"max_followers": 1})), free_port("127.0.0.1")
    service = _Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=service.run)
    thread.start()
    while not service.started:
        time.sleep(0.01)
    yield service, f"http://127.0.0.1:{port}"
    service.handle_exit(signal.SIGTERM, None)
    thread.join()


def test_a_service_that_stops_ends_its_streams_at_once(crowded, photo_png):
    service, address = crowded
    stream = follow(address, submit(address, photo_png))
    next(stream)
    assert next(stream)[0] == "queued"
    service.handle_exit(signal.SIGTERM, None)
    assert list(stream) == []


def test_one_follower_too_many_is_told_when_to_come_back(crowded, photo_png):
    _, address = crowded
    job = submit(address, photo_png)
    stream = follow(address, job)
    next(stream)
    second = httpx2.get(address + job["links"]["events"])
    assert second.status_code == 503
    assert second.json()["code"] == "too-many-followers"
    assert int(second.headers["retry-after"]) >= 1


def test_a_follower_that_leaves_gives_its_place_back(crowded, photo_png):
    service, address = crowded
    job = submit(address, photo_png)
    followers = service.config.app.state.services.followers
    for _ in range(3):
        with httpx2.stream("GET", address + job["links"]["events"], timeout=20) as answer:
            assert answer.status_code == 200
            next(answer.iter_lines())
        deadline = time.monotonic() + 20
        while followers.borrowed_tokens:
            assert time.monotonic() < deadline
            time.sleep(0.02)
