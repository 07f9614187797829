"""A connection that is closed while its client still sends: the answer has to reach it all the same."""

import asyncio
from collections.abc import Callable
from typing import Any

LINGER_SECONDS = 5.0
"""How long a client that has its answer may go on sending."""


class Lingering:
    """A transport that, closed under a client that still sends, throws away what comes until the client has closed too.

    Closing a socket at once makes the kernel answer whatever still arrives with a reset. Many clients then report
    a broken connection instead of the answer that says why (RFC 9112, section 9.6).
    """

    def __init__(self, transport: asyncio.Transport, sends: Callable[[], bool]) -> None:
        """Wrap a transport; `sends` tells whether its client is in the middle of a request."""
        self._transport = transport
        self._sends = sends
        self._end: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def lingers(self) -> bool:
        return self._end is not None

    def is_closing(self) -> bool:
        return self.lingers or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send `data`, or nothing once this was closed."""
        if not self.lingers:
            self._transport.write(data)

    def close(self) -> None:
        """Close once all is written; if the client still sends, once it has closed as well, or after some seconds."""
        if self.is_closing():
            return
        if self._sends() and self._transport.can_write_eof():
            self._end = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.close)
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()

    def finish(self) -> None:
        """Linger no longer."""
        if self._end is not None:
            self._end.cancel()
            self._transport.close()
