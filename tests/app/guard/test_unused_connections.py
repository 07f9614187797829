"""Connections that wait for their next request: kept for longer than who polls pauses, but not at others' expense."""

import socket
import time
from contextlib import ExitStack

import pytest
from conftest import served

from app.guard.protocol import protocol
from app.main import create_app

ASK = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def serve(settings):
    with ExitStack() as running:

        def start(**more):
            ours = settings.model_copy(update=more)
            port, _ = running.enter_context(served(create_app(ours), http=protocol(ours), server_header=False))
            return lambda: running.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))

        yield start


def ask(client):
    client.sendall(ASK)
    received = b""
    while not received.endswith(b'{"status":"ok"}'):
        data = client.recv(65_536)
        assert data, received
        received += data
    return received


def test_a_connection_outlasts_a_pause_of_five_seconds_between_two_requests(serve):
    client = serve()()
    assert ask(client).startswith(b"HTTP/1.1 200")
    time.sleep(5.5)
    assert ask(client).startswith(b"HTTP/1.1 200")


def test_a_connection_is_closed_after_the_seconds_of_the_setting(serve):
    client = serve(keep_alive_seconds=1)()
    ask(client)
    client.settimeout(3)
    assert client.recv(1) == b""


def test_the_connection_that_is_unused_for_longest_makes_room_for_a_new_one(serve):
    connect = serve(max_connections=2)
    first, second = connect(), connect()
    for one in (first, second):
        ask(one)
    assert ask(connect()).startswith(b"HTTP/1.1 200")
    assert first.recv(1) == b""
    assert ask(second).startswith(b"HTTP/1.1 200")


def test_no_connection_with_a_request_under_way_makes_room(serve):
    connect = serve(max_connections=1)
    held = connect()
    ask(held)
    held.sendall(ASK[:-2])
    time.sleep(0.2)
    assert connect().recv(65_536).startswith(b"HTTP/1.1 503")
    held.sendall(ASK[-2:])
    assert held.recv(65_536).startswith(b"HTTP/1.1 200")
