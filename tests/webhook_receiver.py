"""A real HTTP server that receives webhooks and answers as it is told, and a client's part in having some sent."""

import base64
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, ok").decode()
"""What the service of the tests signs with."""
OLD_SECRET = "whsec_" + base64.b64encode(b"the one before, also of 32 bytes").decode()


class Received(NamedTuple):
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Listens on a free port of 127.0.0.1; answers with `statuses` in turn, and with the last of them from then on."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None, delay: float = 0.0, tls=None) -> None:
        self.received: list[Received] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = statuses[min(len(receiver.received), len(statuses) - 1)]
                received = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, received, body))
                time.sleep(delay)
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for(self, count: int, seconds: float = 15) -> list[Received]:
        """Return what came once so many requests have come."""
        deadline = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} of {count} came"
            time.sleep(0.02)
        return self.received


def order_and_end(client, photo_png, url, **fields):
    """Order a job with a webhook and cancel it: that is an end like any other."""
    data = {"metrics": "", "webhook": url, **fields}
    answer = client.post("/purify", files={"image": photo_png}, data=data)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert client.post(job["links"]["cancel"]).status_code == 200
    return job


def delivery(client, job, state):
    """Return what became of the webhook once it is in this state."""
    deadline = time.monotonic() + 15
    while (document := client.get(job["links"]["webhook"]).json())["state"] != state:
        assert time.monotonic() < deadline, document
        time.sleep(0.02)
    return document
