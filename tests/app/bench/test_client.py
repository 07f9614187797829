"""The client that asks a service: patient with a busy one, not with a wrong key."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pytest

from app.bench import study
from app.bench.choices import Choices
from app.bench.items import BenchError
from app.command.client import Client, ServerError


class Script(BaseHTTPRequestHandler):
    """Answers as told, and remembers what it was asked."""

    def do_GET(self):
        self.server.asked.append(dict(self.headers))
        status, headers = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "2"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture
def script():
    """A server that answers what a test puts into `answers`."""
    service = ThreadingHTTPServer(("127.0.0.1", 0), Script)
    service.answers, service.asked = [], []
    service.url = f"http://127.0.0.1:{service.server_port}"
    thread = threading.Thread(target=service.serve_forever)
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
