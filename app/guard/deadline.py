"""A body must come in time and at some pace: a client that sends a byte now and then would hold its place for ever."""

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ProblemError

GRACE_SECONDS = 10.0
"""Before the pace counts."""


class BodyDeadline:
    """ASGI middleware that answers 408 to a body that takes over `seconds`, or comes slower than `pace` bytes/s."""

    def __init__(self, app: ASGIApp, seconds: float, pace: int, grace: float = GRACE_SECONDS) -> None:
        self._app = app
        self._seconds, self._pace, self._grace = seconds, pace, grace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and end the wait for its body when it has been too long."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: float | None = None  # until somebody waits for the body: what is done before is not the client's doing
        total, whole = 0, False

        async def timed() -> Message:
            nonlocal start, total, whole
            start = anyio.current_time() if start is None else start
            if whole:  # what comes now is only that the client has gone
                return await receive()
            deadline = start + min(self._seconds, self._grace + total / self._pace)
            with anyio.CancelScope(deadline=deadline) as waiting:
                message = await receive()
            if waiting.cancelled_caught:
                raise _too_slow()
            total += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            return message

        await self._app(scope, timed, send)


def _too_slow() -> ProblemError:
    return ProblemError(
        408, "body-too-slow", "The request body did not arrive in time.", headers={"Connection": "close"}
    )
