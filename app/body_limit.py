"""A limit on request bodies, counted as they arrive, answered as a problem also where the body is never read."""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ProblemError, field_problem, respond

FORM_OVERHEAD = 256_000
"""Bytes allowed beside the image: the other fields and the multipart boundaries."""


class BodyLimit:
    """ASGI middleware that answers 413 to a body over `max_bytes`, declared or chunked."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            await respond(request, self._too_large(int(declared)))(scope, receive, send)
            return
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._max_bytes:
                raise self._too_large(None)
            return message

        await self._app(scope, counted, send)

    def _too_large(self, actual: int | None) -> ProblemError:
        return field_problem(
            413, "body", "body-too-large", f"the request is larger than {self._max_bytes} bytes",
            limit=self._max_bytes, actual=actual,
        )  # fmt: skip
