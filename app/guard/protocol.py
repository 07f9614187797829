"""HTTP as uvicorn speaks it, with what it lacks: limits on connections, headers, time, and problems for all it refuses.

uvicorn waits for ever for the rest of a header, however long, and for a client that stops reading, and answers in plain
text where it answers by itself.
"""

import asyncio
import functools
import json
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import MEDIA_TYPE, TOO_BUSY_RETRY_SECONDS, ProblemError
from app.guard.headers import NOTHING
from app.guard.lingering import Lingering
from app.guard.settings import GuardSettings

MAX_HEADER_BYTES = 65_536
"""Most that may come without a header's end or a part of a body: the parser copies all of it with each piece."""


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


class _Timer:
    """What happens after some seconds unless it is called off."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float, then: Callable[..., None], *arguments: int) -> None:
        self.stop()
        self._handle = self._loop.call_later(seconds, then, *arguments)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class GuardedProtocol(HttpToolsProtocol):
    """A connection. Its limits are those of `settings`, which `protocol` binds."""

    def __init__(self, settings: GuardSettings, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._settings = settings
        self.timeout_keep_alive = settings.keep_alive_seconds
        self._header, self._reading = _Timer(self.loop), _Timer(self.loop)
        self._unfinished = 0
        self.is_turned_away = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        self._lingering = Lingering(transport, self._is_in_a_request)
        super().connection_made(cast("Transport", self._lingering))
        if self._is_one_too_many() and not self._close_an_unused_one():
            self.is_turned_away = len(self.connections) <= 2 * self._settings.max_connections  # of more, none may stay
            later = {"Retry-After": str(TOO_BUSY_RETRY_SECONDS)}
            self._refuse(503, "too-busy", "Too many connections are open; retry later.", later)
            return
        self._header.start(self._settings.header_seconds, self._header_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._header.stop()
        self._reading.stop()
        self._lingering.finish()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        self._lingering.finish()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._header.is_running and (self.cycle is None or self.cycle.response_complete):
            self._header.start(self._settings.header_seconds, self._header_is_late)  # the next on this connection
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > MAX_HEADER_BYTES and not self.transport.is_closing():
            detail = f"The request's header or trailer is longer than {MAX_HEADER_BYTES} bytes."
            self._refuse(431, "header-too-large", detail)

    def on_headers_complete(self) -> None:
        self._header.stop()
        self._unfinished = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unfinished = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_the_last()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_the_last()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad-request", msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading.start(self._settings.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._reading.stop()
        super().resume_writing()
        self._watch_the_last()

    def _watch_the_last(self) -> None:
        """See to it that a closed connection ends although its client does not read what is still to be sent."""
        left = self.transport.get_write_buffer_size()
        if left and self.transport.is_closing():
            self._reading.start(self._settings.write_seconds, self._is_it_read, left)

    def _is_it_read(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._watch_the_last()
        else:
            self.transport.abort()

    def _is_one_too_many(self) -> bool:
        most = self._settings.max_connections
        if len(self.connections) <= most:
            return False
        away = sum(isinstance(one, GuardedProtocol) and one.is_turned_away for one in self.connections)
        return len(self.connections) - away > most

    def _close_an_unused_one(self) -> bool:
        """Close the connection that has waited longest for its next request; return whether there was one."""
        unused = [
            (one.timeout_keep_alive_task.when(), one.transport)
            for one in self.connections
            if isinstance(one, GuardedProtocol) and one.timeout_keep_alive_task and not one.transport.is_closing()
        ]
        if unused:
            min(unused, key=lambda one: one[0])[1].close()
        return bool(unused)

    def _is_in_a_request(self) -> bool:
        """Return whether more of a request is to come, as far as it was read."""
        return self.is_turned_away or self._unfinished > 0 or (self.cycle is not None and self.cycle.more_body)

    def _header_is_late(self) -> None:
        if self.transport.is_closing():
            return
        self._refuse(408, "header-too-slow", "The request's header did not arrive in time.")

    def _refuse(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        self._header.stop()
        self.transport.write(plain_answer(ProblemError(status, code, detail, headers=headers)))
        self.transport.close()
        self._watch_the_last()


def protocol(settings: GuardSettings) -> Callable[..., asyncio.Protocol]:
    """Return what uvicorn calls for each connection."""
    return functools.partial(GuardedProtocol, settings)
