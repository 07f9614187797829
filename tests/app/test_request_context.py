"""A request's id and trace: in its answer, its problem, its job, and the logs of every process."""

import json
import logging
import re

import pytest
from fastapi import Request
from starlette.testclient import TestClient

from app.main import create_app
from workers.state.queue import JobQueue

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def access(caplog):
    """The access log's events so far."""
    caplog.set_level(logging.DEBUG, "purifiqa.access")
    return lambda: [record for record in caplog.records if record.name == "purifiqa.access"]


def recorded(settings, answer):
    queue = JobQueue(settings)
    try:
        return queue.ledger.get(answer.json()["id"]).origin
    finally:
        queue.broker.connection.close()


def send(client, photo_png, **headers):
    return client.post("/purify", files={"image": ("my holiday.png", photo_png)}, data={"metrics": ""}, headers=headers)


def test_a_sane_request_id_is_kept_and_echoed_in_the_answer_the_job_and_the_log(
    idle_client, settings, photo_png, access
):
    answer = send(idle_client, photo_png, **{"X-Request-ID": "shop-42:a.b_c"})
    assert answer.headers["x-request-id"] == "shop-42:a.b_c"
    assert recorded(settings, answer).request_id == "shop-42:a.b_c"
    [line] = access()
    assert (line.method, line.route, line.status, line.job_id) == ("POST", "/purify", 202, answer.json()["id"])
    assert line.duration_ms > 0


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, 'a"b', "a\\nb", "é", "<script>"])
def test_any_other_request_id_is_replaced(idle_client, sent):
    made = idle_client.get("/livez", headers={"X-Request-ID": sent.encode()}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_two_requests_without_an_id_get_two(idle_client):
    assert len({idle_client.get("/livez").headers["x-request-id"] for _ in range(2)}) == 2


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/jobs/nosuchjob"), ("GET", "/nosuchpath"), ("PUT", "/purify"), ("POST", "/purify"), ("GET", "/readyz")]
)  # fmt: skip
def test_every_problem_names_its_request(idle_client, method, path):
    answer = idle_client.request(method, path, headers={"X-Request-ID": "r-1"})
    assert answer.is_error
    assert (answer.json()["request_id"], answer.headers["x-request-id"]) == ("r-1", "r-1")


def test_a_failure_of_ours_names_its_request_and_is_logged_under_it(settings, monkeypatch, caplog):
    monkeypatch.setattr("app.routes.jobs.job_document", lambda *_: 1 / 0)
    app = create_app(settings)
    monkeypatch.setattr(app.state.services.queue.ledger, "get", lambda _: None)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/jobs/abc", headers={"X-Request-ID": "r-1"})
    assert (answer.status_code, answer.json()["request_id"]) == (500, "r-1")
    assert answer.headers["x-request-id"] == "r-1"
    [line] = [record for record in caplog.records if record.message == "request failed"]
    assert line.exc_info


def test_a_body_too_large_is_refused_under_the_requests_id(idle_client, settings):
    answer = idle_client.post("/purify", headers={"X-Request-ID": "r-1", "Content-Length": str(10**12)})
    assert (answer.status_code, answer.json()["request_id"]) == (413, "r-1")


def test_the_openapi_page_tells_the_header_of_every_answer(idle_client):
    document = idle_client.get("/openapi.json").json()
    for path in document["paths"].values():
        for operation in path.values():
            assert all("X-Request-ID" in response["headers"] for response in operation["responses"].values())


def test_a_failed_job_names_the_request_it_came_with(idle_client, settings, photo_png):
    from workers.state.record import Failure

    answer = send(idle_client, photo_png, **{"X-Request-ID": "r-1"})
    queue = JobQueue(settings)
    queue.fail(queue.ledger.start(answer.json()["id"]), Failure(code="x", detail="y"))
    queue.broker.connection.close()
    document = idle_client.get(answer.headers["location"], headers={"X-Request-ID": "other"}).json()
    assert document["error"]["request_id"] == "r-1"


def test_a_trace_is_carried_to_the_job(idle_client, settings, photo_png):
    assert recorded(settings, send(idle_client, photo_png, traceparent=TRACEPARENT)).traceparent == TRACEPARENT


@pytest.mark.parametrize(
    "sent", ["", "garbage", TRACEPARENT.upper().replace("00-", "zz-"), f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-00f067aa0ba902b7-01", TRACEPARENT + "\u00e9"]
)  # fmt: skip
def test_a_trace_that_is_none_is_dropped(idle_client, settings, photo_png, sent):
    answer = send(idle_client, photo_png, traceparent=sent.encode())
    assert answer.status_code == 202
    assert recorded(settings, answer).traceparent == ""


def test_two_traces_are_none(idle_client, settings, photo_png):
    answer = idle_client.post(
        "/purify", files={"image": photo_png}, data={"metrics": ""},
        headers=[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT.replace("4bf9", "4bf8"))],
    )  # fmt: skip
    assert recorded(settings, answer).traceparent == ""


def test_what_is_asked_every_few_seconds_is_logged_only_when_debugging(idle_client, access):
    for path in ("/livez", "/readyz", "/metrics"):
        idle_client.get(path)
    assert {record.levelno for record in access()} == {logging.DEBUG}


def test_the_log_tells_routes_and_no_paths(idle_client, access):
    idle_client.get("/secret/path")
    idle_client.get("/jobs/a%0d%0aforged")
    idle_client.request("BREW", "/livez")
    assert [(line.method, line.route) for line in access()] == [
        ("GET", "unmatched"),
        ("GET", "/jobs/{job_id}"),
        ("other", "/livez"),
    ]
    assert not any(hasattr(line, "job_id") for line in access())


def test_the_owner_that_a_request_was_found_to_have_is_logged(settings, access):
    app = create_app(settings)

    @app.get("/mine")
    def mine(request: Request) -> None:
        request.state.owner = "key-1"

    with TestClient(app) as client:
        client.get("/mine")
    assert access()[-1].owner == "key-1"


def test_one_job_is_followed_from_the_request_to_the_worker_in_json_without_any_content(
    settings, tmp_path, photo_png, monkeypatch, capsys
):
    """The real thing: an API that logs as in production, a worker process, and a grep over all that they write."""
    from conftest import start_worker

    from workers.telemetry import logs

    monkeypatch.setenv("PURIFIQA_LOG_FORMAT", "json")
    worker = start_worker(settings, tmp_path / "worker.log")
    try:
        logs.configure("DEBUG", "json")
        with TestClient(create_app(settings)) as client:
            headers = {"X-Request-ID": "shop-42", "traceparent": TRACEPARENT, "Prefer": "wait=60"}
            answer = client.post(
                "/purify",
                files={"image": ("my holiday.png", photo_png)},
                data={"metrics": "", "defense": "jpeg"},
                headers=headers,
            )
            assert answer.json()["status"] == "finished"
            client.post(
                "/purify",
                files={"image": ("my holiday.png", photo_png[:99])},
                headers={"Authorization": "Bearer secret-key"},
            )
    finally:
        worker.terminate()
        worker.wait(90)
    text = capsys.readouterr().err + (tmp_path / "worker.log").read_text()
    events = [json.loads(line) for line in text.splitlines()]
    shared = {"request_id": "shop-42", "trace_id": TRACE, "job_id": answer.json()["id"]}
    followed = [event for event in events if shared.items() <= event.items()]
    assert [event["event"] for event in followed] == ["request", "job finished"]
    done = followed[1]
    assert (done["kind"], done["defense"], done["outcome"], done["logger"]) == (
        "purify",
        "jpeg",
        "finished",
        "purifiqa.worker",
    )
    assert done["run_ms"] > 0
    for content in ("holiday", "secret-key", "PNG", str(photo_png[:20])[2:-1], str(settings.data_dir)):
        assert content not in text
