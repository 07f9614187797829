"""Where a webhook is connected to: an address that was checked, under the name that was given."""

import asyncio
import json
import ssl
import subprocess
import time

import pytest
from webhook_receiver import Receiver

from app.settings import Settings
from app.webhooks import sender as sender_module
from app.webhooks.sender import Sender
from app.webhooks.signing import read_secrets
from app.webhooks.targets import ForbiddenTargetError, resolve
from workers.state.queue import JobQueue
from workers.state.store import Store


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
