"""Too many connections, and clients that do not read, over real sockets: they are hung up on and harm nobody."""

import contextlib
import select
import socket
import statistics
import time

import httpx2
import pytest
from raw_http import HALF, connect, wait_for


def test_one_connection_too_many_is_told_to_come_back_and_let_in_when_there_is_room(serve):
    port = serve(max_connections=3)
    held = [connect(port) for _ in range(3)]
    time.sleep(0.2)
    with connect(port) as client:
        received = client.recv(65_536)
    assert received.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 5" in received
    assert b"too-busy" in received
    assert not select.select(held, [], [], 0)[0], "those that were let in stay"
    for one in held:
        one.close()
    time.sleep(0.2)
    assert httpx2.get(f"http://127.0.0.1:{port}/livez").status_code == 200


def test_who_is_turned_away_reads_the_answer_although_it_was_sending_and_takes_nobodys_place(serve):
    port = serve(max_connections=2)
    held = [connect(port) for _ in range(2)]
    with connect(port) as client:
        time.sleep(0.2)  # the answer is there
        for _ in range(20):
            client.sendall(bytes(100_000))
        held.pop().close()
        time.sleep(0.2)
        assert httpx2.get(f"http://127.0.0.1:{port}/livez").status_code == 200
        assert client.recv(65_536).startswith(b"HTTP/1.1 503")
        assert client.recv(65_536) == b""
    held.pop().close()


def test_of_very_many_that_are_turned_away_none_stays(serve):
    port = serve(max_connections=2)
    with contextlib.ExitStack() as held:
        for _ in range(4):
            held.enter_context(connect(port))
        time.sleep(0.2)
        for _ in range(20):
            held.enter_context(connect(port))
        time.sleep(0.2)
        assert len(serve.server.server_state.connections) == 4


def test_a_client_that_stops_reading_is_hung_up_on(serve):
    port = serve(write_seconds=0.5)
    with connect(port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        connections, deadline = serve.server.server_state.connections, time.monotonic() + 20
        while connections and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not connections


BIG = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n"


@contextlib.contextmanager
def little_read(serve, **settings):
    """Connect so that little of an answer fits on its way; yield the client and the server's end of it."""
    port = serve(**settings)
    for listening in serve.server.servers[0].sockets:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        wait_for(lambda: serve.server.server_state.connections)
        [connection] = serve.server.server_state.connections
        yield client, connection


def test_a_client_that_stops_reading_is_hung_up_on_although_it_goes_on_asking(serve):
    with little_read(serve, write_seconds=0.5) as (client, connection):
        client.sendall(BIG + b"\r\n")
        wait_for(lambda: connection.flow.write_paused)
        client.sendall(BIG + b"\r\n")
        wait_for(lambda: connection not in connection.connections)


@pytest.mark.parametrize("ending", [b"Connection: close\r\n\r\n", pytest.param(b"\r\n", marks=pytest.mark.slow)])
def test_a_client_that_never_reads_the_last_of_an_answer_is_hung_up_on(serve, ending):
    with little_read(serve, write_seconds=0.5, keep_alive_seconds=1) as (client, connection):
        client.sendall(BIG + b"Range: bytes=0-60000\r\n" + ending)
        wait_for(lambda: connection not in connection.connections)


@pytest.mark.slow
def test_two_hundred_half_open_uploads_do_not_slow_normal_requests(serve, photo_png):
    port = serve()

    def p95(count=60):
        times = []
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for _ in range(count):
                started = time.perf_counter()
                answer = client.post("/purify", files={"image": photo_png}, data={"metrics": "", "defense": "jpeg"})
                times.append(time.perf_counter() - started)
                assert answer.status_code == 202
        return statistics.quantiles(times, n=20)[-1]

    p95(20)  # warm
    free = [p95() for _ in range(3)]
    held = [connect(port) for _ in range(200)]
    try:
        for one in held:
            one.sendall(HALF)
        loaded = [p95() for _ in range(3)]
    finally:
        for one in held:
            one.close()
    print(f"p95 alone {sorted(free)[1] * 1000:.1f} ms, beside 200 half-open uploads {sorted(loaded)[1] * 1000:.1f} ms")
    assert min(loaded) <= 2 * max(free)
