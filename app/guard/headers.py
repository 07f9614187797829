"""What every answer tells a browser: sniff nothing, run nothing, show this nowhere else, keep no copy."""

import base64
import hashlib
import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_INLINE = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)
_PAGES = ("/docs", "/static-offline-docs")


class SecurityHeaders:
    """ASGI middleware that adds them where the answer does not say otherwise itself."""

    def __init__(self, app: ASGIApp, *, shared: bool) -> None:
        """`shared`: pages of other origins may use the API, as CORS says."""
        self._app = app
        self._defaults = {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "cross-origin" if shared else "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Content-Security-Policy": NOTHING,
            "Cache-Control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_page = scope["path"].startswith(_PAGES)
        start: Message = {}

        async def dressed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._defaults.items():
                    headers.setdefault(name, value)
                if is_page and headers.get("content-type", "").startswith("text/html"):
                    start = message  # its body, which is one message, tells which scripts are ours
                    return
            elif start:
                MutableHeaders(scope=start)["Content-Security-Policy"] = page_policy(message.get("body", b""))
                await send(start)
                start = {}
            await send(message)

        await self._app(scope, receive, dressed)


def page_policy(html: bytes) -> str:
    """Return the policy for the documentation page: its own files, its own calls, and exactly its inline scripts."""
    hashes = (base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _INLINE.findall(html))
    scripts = " ".join(["'self'", *(f"'sha256-{one}'" for one in hashes)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
