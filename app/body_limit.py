"""Limits on request bodies, one and all together, counted as they arrive, answered as problems also where the body is
never read.
"""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import TOO_BUSY_RETRY_SECONDS, ProblemError, field_problem, respond

FORM_OVERHEAD = 256_000
"""Bytes allowed beside the image: the other fields and the multipart boundaries."""


def let_go(request: Request) -> None:
    """Say that nothing of the request's body is held any more, although it has not been answered yet."""
    request.state.let_go()


class BodyLimit:
    """ASGI middleware that answers 413 to a body over `max_bytes`, declared or chunked, and 503 to what would make the
    bodies that are held at once more than `max_held` bytes. One alone may always be.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_held: int) -> None:
        self._app = app
        self._max_bytes, self._max_held = max_bytes, max_held
        self._held = 0

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
        total = held = 0

        def release() -> None:
            nonlocal held
            self._held -= held
            held = 0

        async def counted() -> Message:
            nonlocal total, held
            message = await receive()
            size = len(message.get("body", b""))
            total += size
            if total > self._max_bytes:
                raise self._too_large(None)
            if size and self._held > held and self._held + size > self._max_held:
                raise self._too_many()
            self._held += size
            held += size
            return message

        scope.setdefault("state", {})["let_go"] = release
        try:
            await self._app(scope, counted, send)
        finally:
            release()

    def _too_large(self, actual: int | None) -> ProblemError:
        return field_problem(
            413, "body", "body-too-large", f"the request is larger than {self._max_bytes} bytes",
            limit=self._max_bytes, actual=actual,
        )  # fmt: skip

    def _too_many(self) -> ProblemError:
        return ProblemError(
            503, "too-busy", f"Orders of {self._max_held} bytes are arriving already; nothing was accepted.",
            headers={"Retry-After": str(TOO_BUSY_RETRY_SECONDS)},
        )  # fmt: skip
