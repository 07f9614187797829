"""HTTP as uvicorn speaks it, with what it lacks: a limit on connections, time limits, and problems for all it refuses.

uvicorn waits for ever for the rest of a header and for a client that stops reading, and answers in plain text where it
answers by itself.
"""

import asyncio
import functools
import json
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import MEDIA_TYPE, ProblemError
from app.guard.headers import NOTHING
from app.guard.settings import GuardSettings

BUSY_RETRY_SECONDS = 5


def plain_answer(error: ProblemError) -> bytes:
    """Return a problem as the bytes of an HTTP answer, after which the connection is closed."""
    body = json.dumps(error.document().model_dump(mode="json", exclude_none=True)).encode()
    headers = {
        "content-type": MEDIA_TYPE, "content-length": str(len(body)), "connection": "close",
        "x-content-type-options": "nosniff", "content-security-policy": NOTHING, "cache-control": "no-store",
        **(error.headers or {}),
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[error.status] + lines.encode() + b"\r\n" + body


class GuardedProtocol(HttpToolsProtocol):
    """A connection. Its limits are those of `settings`, which `protocol` binds."""

    def __init__(self, settings: GuardSettings, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._settings = settings
        self._timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            self._refuse(503, "too-busy", "There are too many connections.", {"Retry-After": str(BUSY_RETRY_SECONDS)})
            return
        self._start(self._settings.header_seconds, self._header_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._start(self._settings.header_seconds, self._header_is_late)  # the next request on this connection
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._stop()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad-request", msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start(self._settings.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop()
        super().resume_writing()

    def _header_is_late(self) -> None:
        if self.transport.is_closing():
            return
        self._refuse(408, "header-too-slow", "The rest of the request's header did not come in time.")

    def _refuse(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        self._stop()
        self.transport.write(plain_answer(ProblemError(status, code, detail, headers=headers)))
        self.transport.close()

    def _start(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop()
        self._timer = self.loop.call_later(seconds, then)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def protocol(settings: GuardSettings) -> Callable[..., asyncio.Protocol]:
    """Return what uvicorn calls for each connection."""
    return functools.partial(GuardedProtocol, settings)
