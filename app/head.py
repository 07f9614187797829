"""`HEAD` wherever `GET` is (RFC 9110, 9.1), with the same headers; the server leaves the body out."""

import anyio
from anyio.lowlevel import checkpoint
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadLikeGet:
    """ASGI middleware, the innermost: to the routes a HEAD is a GET, to all around them it stays what it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and end it where a body that comes in pieces would begin, such as a stream of events."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def headers_only(message: Message) -> None:
            scope["method"] = "HEAD"
            await send({**message, "more_body": False} if "more_body" in message else message)
            if message.get("more_body"):
                answering.cancel()
                await checkpoint()  # nothing more is sent

        scope["method"] = "GET"
        try:
            with anyio.CancelScope() as answering:
                await self._app(scope, receive, headers_only)
        finally:
            scope["method"] = "HEAD"
