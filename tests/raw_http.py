"""Clients that speak HTTP by hand, over real sockets."""

import json
import select
import socket
import time

HALF = b"POST /purify HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"


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


def is_hung_up_on(client):
    try:
        client.sendall(b"x" * 1_000)
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
