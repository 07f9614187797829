"""Clients that are slow, stuck or speak no HTTP, over real sockets: they are told why, hung up on, and harm nobody."""

import contextlib
import json
import select
import socket
import statistics
import time

import httpx2
import pytest
from conftest import served

from app.guard.protocol import protocol
from app.main import create_app
from app.settings import Settings

HALF = b"POST /purify HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"


@pytest.fixture
def serve(settings, monkeypatch):
    """Serve the app on a real port with these settings; return the port."""

    def start(grace=10.0, **more):
        monkeypatch.setattr("app.guard.deadline.BodyDeadline.__init__.__defaults__", (grace,))
        ours = Settings(**{**settings.model_dump(exclude_unset=True), **more})
        service = served(create_app(ours), http=protocol(ours), server_header=False)
        port, start.server = running.enter_context(service)
        return port

    with contextlib.ExitStack() as running:
        yield start
        start.server.force_exit = True


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def answer_to(port, *parts, pause=0.0):
    """Send the parts with pauses; return the status and problem that come back once the server hangs up."""
    with connect(port) as client:
        for part in parts:
            if select.select([client], [], [], 0)[0]:
                break  # the answer is there already
            client.sendall(part)
            time.sleep(pause)
        received = b""
        while data := client.recv(65_536):
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, received
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)


def read_all_is_well(client):
    received = b""
    while not received.endswith(b'{"status":"ok"}'):  # it may come in parts
        received += (part := client.recv(65_536))
        assert part, received


def test_a_body_that_stops_coming_is_answered_and_hung_up_on(serve):
    status, problem = answer_to(serve(grace=0.5), HALF)
    assert (status, problem["code"]) == (408, "body-too-slow")


def test_a_body_that_trickles_is_ended_although_something_always_comes(serve):
    port, started = serve(grace=0.3, body_min_rate=1000), time.monotonic()
    status, problem = answer_to(port, HALF, *[b"x"] * 10, pause=0.1)
    assert (status, problem["code"]) == (408, "body-too-slow")
    assert time.monotonic() - started < 5


def test_a_body_that_never_ends_is_ended(serve):
    port = serve(grace=0.1, body_seconds=1, body_min_rate=1)
    status, problem = answer_to(port, HALF, *[b"x" * 100] * 15, pause=0.1)
    assert (status, problem["code"]) == (408, "body-too-slow")


def test_who_goes_on_sending_after_the_answer_still_reads_it_and_is_not_cut_off(serve):
    port = serve(grace=0.2)
    with connect(port) as client:
        client.sendall(HALF)
        assert select.select([client], [], [], 10)[0], "the answer is there"
        for _ in range(20):  # a client that looks for an answer only when all is sent
            client.sendall(b"x" * 4_000)
            time.sleep(0.01)
        received = b""
        while data := client.recv(65_536):
            received += data
    assert received.startswith(b"HTTP/1.1 408")
    wait_for(lambda: not serve.server.server_state.connections)


def test_a_client_that_never_stops_sending_after_its_answer_is_hung_up_on(serve, monkeypatch):
    monkeypatch.setattr("app.guard.lingering.LINGER_SECONDS", 0.5)
    with connect(serve(grace=0.2)) as client:
        client.sendall(HALF)
        wait_for(lambda: is_hung_up_on(client))


def is_hung_up_on(client):
    try:
        client.sendall(b"x" * 1_000)
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


def test_a_connection_that_waits_for_its_next_request_is_closed_at_once_when_the_service_stops(serve):
    with connect(serve()) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        read_all_is_well(client)
        [connection] = serve.server.server_state.connections
        connection.loop.call_soon_threadsafe(connection.shutdown)
        assert client.recv(65_536) == b""
        wait_for(lambda: not serve.server.server_state.connections)


def test_a_slow_but_steady_body_is_taken(serve, photo_png):
    port = serve(grace=0.3, body_min_rate=100)

    def body():
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        for start in range(0, len(photo_png), 2000):
            time.sleep(0.05)
            yield photo_png[start : start + 2000]
        yield b'\r\n--b\r\nContent-Disposition: form-data; name="metrics"\r\n\r\n\r\n--b--\r\n'

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx2.post(f"http://127.0.0.1:{port}/purify", content=body(), headers=headers, timeout=30)
    assert answer.status_code == 202, answer.text


def test_who_has_to_wait_until_the_service_begins_to_read_is_not_called_slow(serve, monkeypatch):
    monkeypatch.setattr("app.guard.room.Room.check", lambda *_: time.sleep(1.5) or 0)
    with connect(serve(grace=1.0)) as client:
        client.sendall(HALF)
        time.sleep(1.7)
        client.sendall(bytes(100_000))
        assert client.recv(65_536).startswith(b"HTTP/1.1 400"), "it is no form, but it was read"


@pytest.mark.parametrize("start", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: "])
def test_a_header_that_does_not_come_to_an_end_is_answered(serve, start):
    status, problem = answer_to(serve(header_seconds=0.5), start)
    assert (status, problem["code"]) == (408, "header-too-slow")


def test_the_second_header_on_a_connection_has_its_time_too(serve):
    with connect(serve(header_seconds=0.5)) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        read_all_is_well(client)
        client.sendall(b"GET /livez HT")
        assert client.recv(65_536).startswith(b"HTTP/1.1 408")


CHUNKED = HALF.replace(b"Content-Length: 100000", b"Transfer-Encoding: chunked").partition(b"--b")[0]


@pytest.mark.parametrize("start", [
    b"GET /", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: ", CHUNKED + b"5;", CHUNKED + b"5\r\n--b\r\n\r\n0\r\nX-A: ",
])  # fmt: skip
def test_what_has_no_end_and_is_no_body_is_refused_before_it_costs_anything(serve, start):
    status, problem = answer_to(serve(), start, b"a" * 40_000, b"a" * 40_000, pause=0.2)
    assert (status, problem["code"]) == (431, "header-too-large")


def test_a_header_without_an_end_behind_a_request_that_is_worked_on_is_refused_too(serve, photo_png):
    with connect(port := serve()) as client:
        request = httpx2.Request(
            "POST", f"http://127.0.0.1:{port}/purify", files={"image": photo_png},
            data={"defense": "none", "metrics": ""}, headers={"Prefer": "wait=20"},
        )  # fmt: skip
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        client.sendall(f"POST /purify HTTP/1.1\r\n{head}\r\n".encode() + request.read())
        time.sleep(0.2)
        for part in [b"GET /livez HTTP/1.1\r\n", *[b"X-A: b\r\n" * 5_000] * 2]:
            client.sendall(part)
            time.sleep(0.2)
        assert client.recv(65_536).startswith(b"HTTP/1.1 431")


def test_a_long_header_is_read(serve):
    address = f"http://127.0.0.1:{serve()}/livez"
    assert httpx2.get(address, headers={"X-A": "a" * 60_000}).status_code == 200


@pytest.mark.parametrize("bytes_sent", [
    b"\x16\x03\x01\x02\x00\x01", b"hello\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /purify HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /purify HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHo st: x\r\n\r\n",
])  # fmt: skip
def test_what_is_no_http_is_a_problem_too(serve, bytes_sent):
    status, problem = answer_to(serve(), bytes_sent)
    assert (status, problem["code"]) == (400, "bad-request")


def test_a_request_that_is_worked_on_for_longer_than_its_header_may_take_is_answered(serve, photo_png):
    port = serve(header_seconds=0.3)
    answer = httpx2.post(
        f"http://127.0.0.1:{port}/purify", files={"image": photo_png}, data={"defense": "none", "metrics": ""},
        headers={"Prefer": "wait=1"}, timeout=30,
    )  # fmt: skip
    assert answer.status_code == 202, answer.text


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


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_client_that_stops_reading_is_hung_up_on_although_it_goes_on_asking(serve):
    with little_read(serve, write_seconds=0.5) as (client, connection):
        client.sendall(BIG + b"\r\n")
        wait_for(lambda: connection.flow.write_paused)
        client.sendall(BIG + b"\r\n")
        wait_for(lambda: connection not in connection.connections)


@pytest.mark.parametrize("ending", [b"Connection: close\r\n\r\n", pytest.param(b"\r\n", marks=pytest.mark.slow)])
def test_a_client_that_never_reads_the_last_of_an_answer_is_hung_up_on(serve, ending):
    with little_read(serve, write_seconds=0.5) as (client, connection):
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
