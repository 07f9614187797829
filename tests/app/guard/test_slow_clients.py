"""Clients that are slow, stuck or speak no HTTP, over real sockets: they are told why, hung up on, and harm nobody."""

import select
import time

import httpx2
import pytest
from raw_http import HALF, answer_to, connect, is_hung_up_on, read_all_is_well, wait_for


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
