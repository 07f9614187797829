"""The client that asks a service: patient with a busy one, not with a wrong key."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pytest

from app.bench import study
from app.bench.choices import Choices
from app.bench.items import BenchError
from app.command import batch
from app.command.client import Client, ServerError, StoppedError
from app.command.files import FilesError

A_DATE = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}


class Script(BaseHTTPRequestHandler):
    """Answers as told, and remembers what it was asked."""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append({"line": f"{self.command} {self.path}", **self.headers})
        status, headers, *body = self.server.answers.pop(0)
        body = body[0] if body else b"{}"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.do_GET()

    def do_DELETE(self):
        self.do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def script():
    """A server that answers what a test puts into `answers`."""
    service = ThreadingHTTPServer(("127.0.0.1", 0), Script)
    service.answers, service.asked = [], []
    service.url = f"http://127.0.0.1:{service.server_port}"
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield service
    service.shutdown()
    thread.join()
    service.server_close()


def test_a_busy_service_is_asked_again_when_it_says_and_gets_the_key(script, monkeypatch):
    monkeypatch.setenv("PURIFIQA_API_KEY", "secret")
    script.answers += [(429, {"Retry-After": "1"}), (503, {"Retry-After": "0"}), (200, {})]
    start = time.monotonic()
    with Client(script.url, patience=60) as client:
        assert client.send("GET", "/").status_code == 200
    assert time.monotonic() - start >= 1
    assert [asked["Authorization"] for asked in script.asked] == ["Bearer secret"] * 3


@pytest.mark.parametrize("status", [429, 502, 503, 504, 507])
@pytest.mark.parametrize(
    ("said", "pause"), [({"Retry-After": "7"}, 7), ({"Retry-After": "0"}, 0.25), ({}, 1), (A_DATE, 1)]
)
def test_what_passes_is_waited_for_as_long_as_the_service_says_and_never_without_a_pause(
    script, monkeypatch, status, said, pause
):
    script.answers += [(status, said), (200, {})]
    pauses = []
    with Client(script.url, patience=60) as client:
        monkeypatch.setattr(client, "_pause", pauses.append)
        assert client.send("GET", "/").status_code == 200
    assert pauses == [pause]


def test_an_order_whose_answer_was_lost_is_sent_again_as_the_same_one_until_its_key_is_free(script):
    script.answers += [(503, {}), (409, {"Retry-After": "0"}), (202, {}, b'{"id": "one"}'), (202, {}, b'{"id": "two"}')]
    with Client(script.url, patience=60) as client:
        assert client.begin("score", b"image", {})[0] == {"id": "one"}
        assert client.begin("score", b"image", {})[0] == {"id": "two"}
    *same, other = [request["Idempotency-Key"] for request in script.asked]
    assert len(same) == 3
    assert len({*same}) == 1
    assert other not in same


def test_a_conflict_that_does_not_pass_is_told_at_once(script):
    script.answers += [(409, {})]
    with Client(script.url, patience=60) as client, pytest.raises(ServerError, match="409"):
        client.begin("score", b"image", {})


def test_a_client_that_is_told_to_stop_takes_its_order_back(script):
    job = json.dumps({"status": "queued", "links": {"self": "/jobs/1"}}).encode()
    script.answers += [(202, {}, job), (204, {}, b"")]
    with Client(script.url) as client:
        client.stop()
        with pytest.raises(StoppedError):
            client.order("purify", b"image", {})
    assert [asked["line"] for asked in script.asked] == ["POST /purify", "DELETE /jobs/1"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, {}, b"<html>Welcome</html>"), "the answer to POST /purify is not from PurifIQA; check the URL"),
        ((502, {"Content-Type": "application/problem+json"}, b"<html>"), "POST /purify: 502"),
        ((308, {"Location": "https://iqa.example/purify"}, b""), "POST /purify: 308, to https://iqa.example/purify"),
        ((404, {}, b""), "POST /purify: 404"),
    ],
)
def test_what_answers_in_place_of_the_service_is_told_in_words(script, answer, told):
    script.answers += [answer]
    with Client(script.url) as client, pytest.raises(ServerError) as raised:
        client.order("purify", b"image", {})
    assert str(raised.value) == told


def test_a_proxy_whose_service_stays_away_is_waited_for_once_and_not_for_every_file(script, photos, monkeypatch):
    monkeypatch.setattr(batch, "PATIENCE_SECONDS", 0.6)
    script.answers += [(200, {}), *[(502, {"Retry-After": "0"}, b"<html>")] * 2]
    with pytest.raises(FilesError, match="POST /score: 502, after retries for 1 s"):
        batch.run("score", [str(photos / "a.png"), str(photos / "b.png")], {}, None, script.url, None)
    assert [asked["line"] for asked in script.asked] == ["GET /livez", "POST /score", "POST /score"]


def test_a_key_that_has_too_many_jobs_for_long_may_have_room_for_the_next_file(script, photos, monkeypatch):
    monkeypatch.setattr(batch, "PATIENCE_SECONDS", 0.6)
    script.answers += [(200, {}), *[(429, {"Retry-After": "0"})] * 2, (404, {})]
    done = batch.run("score", [str(photos / "a.png"), str(photos / "b.png")], {}, None, script.url, None)
    assert [why for _, why in done.failed] == ["POST /score: 429, after retries for 1 s", "POST /score: 404"]


@pytest.mark.parametrize("status", [401, 429, 503])
def test_patience_ends_and_a_wrong_key_is_no_matter_of_patience(script, status, photos, tmp_path):
    choices = Choices(photos, tmp_path / "here", attacks="ifgsm", defenses="flip", metrics="fr-surrogate")
    script.answers += [(status, {"Retry-After": "100"})]
    with Client(script.url, patience=60) as client, pytest.raises(ServerError, match=str(status)) as raised:
        client.send("GET", "/")
    assert raised.value.is_about_the_server
    script.answers += [(status, {})]
    with pytest.raises(BenchError, match=f"--server {script.url}: .*{status}"):
        study.run(choices, version("purifiqa"), study.Means(server=script.url))
    assert not choices.out.exists()
