"""`/readyz` says yes exactly when an order would be accepted and done."""

import signal
import subprocess
import sys
import time

import httpx2
import pytest
from starlette.testclient import TestClient

from app.command.parts import free_port
from app.guard.room import Room
from app.main import create_app
from app.settings import Settings
from workers.telemetry.vitals import Facts


@pytest.fixture
def ready(settings):
    """An app with a worker that says it is well, and what it says."""
    app = create_app(settings)
    app.state.services.queue.presence.beat("w1", Facts().model_dump_json())
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client, app


def wrong(answer):
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    return [(error["field"], error["code"]) for error in answer.json()["errors"]]


def test_a_service_with_a_warm_worker_is_ready(ready):
    assert ready[0].get("/readyz").json() == {"status": "ok"}


def test_a_watcher_may_ask_with_head_too(ready):
    client, app = ready
    assert [client.head(path).status_code for path in ("/livez", "/readyz")] == [200, 200]
    app.state.draining = True
    assert [client.head(path).status_code for path in ("/livez", "/readyz")] == [200, 503]


def test_verbose_tells_what_was_looked_at_and_whether_the_defaults_can_be_used(ready):
    client, app = ready
    app.state.services.queue.presence.beat("w2", Facts(state="busy", device="cuda", gpu="GPU-1").model_dump_json())
    checks = {check["name"]: check for check in client.get("/readyz?verbose").json()["checks"]}
    assert {name for name, check in checks.items() if check["required"]} == {"service", "store", "redis", "workers"}
    assert checks["workers"]["detail"] == "1 busy on cuda, 1 idle on cpu"
    assert checks["defense:diffpure"]["ok"]
    assert checks["metric:fr-surrogate"]["ok"]
    assert "bytes are free" in checks["store"]["detail"]


@pytest.mark.parametrize(("setting", "value"), [("maxmemory", 1), ("min-replicas-to-write", 1)])
def test_redis_that_answers_but_takes_no_writes_is_not_ready(ready, broker, setting, value):
    client, _ = ready
    broker.config_set(setting, value)
    try:
        assert wrong(client.get("/readyz")) == [("redis", "unreachable")]
        assert "purifiqa_redis_up 0" in client.get("/metrics").text
    finally:
        broker.config_set(setting, 0)
    assert client.get("/readyz").status_code == 200


def test_a_worker_that_is_stuck_is_no_worker(ready):
    client, app = ready
    app.state.services.queue.presence.beat("w1", Facts(state="stuck").model_dump_json())
    assert wrong(client.get("/readyz")) == [("workers", "stuck")]


def test_a_worker_whose_lease_has_ended_is_no_worker(ready, broker):
    client, _ = ready
    broker.zadd("purifiqa:workers", {"w1": time.time() - 1})
    assert wrong(client.get("/readyz")) == [("workers", "none")]


def test_a_store_that_cannot_be_written_or_has_no_room_is_not_ready(ready, settings):
    client, app = ready
    object.__setattr__(app.state.services, "settings", Settings(min_free_bytes=10**18))
    assert wrong(client.get("/readyz")) == [("store", "full")]
    (settings.data_dir / "incoming").rmdir()
    assert wrong(client.get("/readyz")) == [("store", "not-writable")]


def test_a_store_that_holds_all_it_may_is_not_ready(ready, settings):
    client, app = ready
    services = app.state.services
    object.__setattr__(services, "room", Room(services.store, Settings(max_store_bytes=1_000)))
    assert "; 1,000 are left of PURIFIQA_MAX_STORE_BYTES" in client.get("/readyz?verbose").text
    services.room.check(1_000)
    assert wrong(client.get("/readyz")) == [("store", "full")]


def test_how_many_workers_it_takes_can_be_set(ready):
    client, app = ready
    object.__setattr__(app.state.services, "settings", Settings(ready_workers=2))
    assert wrong(client.get("/readyz")) == [("workers", "too-few")]
    app.state.services.queue.presence.leave("w1")
    object.__setattr__(app.state.services, "settings", Settings(ready_workers=0))
    assert client.get("/readyz").status_code == 200


def test_a_process_that_is_about_to_end_is_not_ready_but_alive(ready):
    client, app = ready
    app.state.draining = True
    assert wrong(client.get("/readyz")) == [("service", "draining")]
    assert client.get("/livez").status_code == 200


@pytest.mark.slow
def test_a_stopping_api_answers_while_it_drains_and_ends_at_once_when_told_again(settings, monkeypatch):
    port = free_port("127.0.0.1")
    for name, value in (("PORT", str(port)), ("DRAIN_SECONDS", "60"), ("READY_WORKERS", "0")):
        monkeypatch.setenv(f"PURIFIQA_{name}", value)
    api = subprocess.Popen([sys.executable, "-P", "-m", "app", "api"])
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if httpx2.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx2.HTTPError:
                time.sleep(0.1)
        api.send_signal(signal.SIGTERM)
        while httpx2.get(f"{url}/readyz").status_code == 200:
            time.sleep(0.05)
        assert wrong(httpx2.get(f"{url}/readyz")) == [("service", "draining")]
        assert httpx2.get(f"{url}/defenses").status_code == 200
        api.send_signal(signal.SIGTERM)
        assert api.wait(90) in (0, -signal.SIGTERM), "uvicorn ends as if by the signal"
    finally:
        if api.poll() is None:
            api.kill()
            api.wait()
