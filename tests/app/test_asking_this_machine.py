"""How `purifiqa up` and `purifiqa health` ask the service on this machine, whatever lies between."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.command.health import check_service, own_address
from app.command.supervisor import Supervisor


@pytest.fixture
def serving():
    """A function that serves these statuses, the last of them for ever, as pages of HTML; it returns the port."""
    servers = []

    def serve(*statuses):
        left = list(statuses)

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(left.pop(0) if len(left) > 1 else left[0])
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(b"<html>")

            def log_message(self, *_):
                """Say nothing."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Pages))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return servers[-1].server_port

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def proxied(monkeypatch, serving):
    """A proxy is set that refuses everything."""
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{serving(403)}")


def test_a_proxy_is_not_asked_for_the_service_of_this_machine(proxied, serving, monkeypatch, tmp_path):
    port = serving(200)
    monkeypatch.setenv("PURIFIQA_PORT", str(port))
    assert Supervisor("127.0.0.1", port, tmp_path, 1)._wait_until_ready([])
    assert check_service(own_address()) is None
    elsewhere = "http://purifiqa.example"
    assert check_service(elsewhere) == f"{elsewhere} answered with status 403", "another machine may lie behind it"


def test_up_waits_on_where_an_answer_is_none_of_ours(serving, tmp_path):
    assert Supervisor("127.0.0.1", serving(502, 404, 200), tmp_path, 1)._wait_until_ready([])


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),  # an API on :: does not listen on 127.0.0.1
        ("::1", "http://[::1]:8000"),
        ("purifiqa.example", "http://purifiqa.example:8000"),
    ],
)
def test_a_service_on_all_addresses_is_reached_by_this_machines_own(host, reached, tmp_path, monkeypatch):
    monkeypatch.setenv("PURIFIQA_HOST", host)
    monkeypatch.delenv("PURIFIQA_PORT", raising=False)
    assert Supervisor(host, 8000, tmp_path, 1).address == own_address() == reached
