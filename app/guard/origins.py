"""From where a browser may use the API. A page elsewhere must not reach a service that asks for no keys.

Two ways are closed: a form on a foreign page that posts here (its Origin tells), and a name of the attacker's that
suddenly points to this machine, whose page then counts as ours (DNS rebinding; such a name has a dot in it).
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import ProblemError, respond
from app.idempotency import REPLAYED
from app.request_context import HEADER

METHODS = ["GET", "HEAD", "POST", "DELETE"]
SENT = [
    "Authorization", "X-API-Key", "Prefer", "Cache-Control", "Idempotency-Key", "If-None-Match", "Last-Event-ID",
    "X-Request-ID", "traceparent",
]  # fmt: skip
SHOWN = [
    "Location", "Retry-After", "ETag", "Preference-Applied", "Link", REPLAYED, "X-PurifIQA-Seed", HEADER,
    "WWW-Authenticate",
]  # fmt: skip
_SAFE = ("GET", "HEAD", "OPTIONS")


def check_origin(origin: str) -> None:
    """Raise ValueError unless this is an origin as browsers send it; `*` is none."""
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
        raise ValueError(f"{origin} is not an origin such as https://example.org")


def allow(app: FastAPI, origins: list[str]) -> None:
    """Let pages of these origins use `app`, without cookies, which it does not have."""
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=METHODS, allow_headers=SENT, expose_headers=SHOWN
        )


class SameOrigin:
    """ASGI middleware for a service without keys: refuses names that are not ours, and changes from foreign pages."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._app = app
        self._hosts, self._origins = frozenset(hosts), frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and (error := self._refusal(request := Request(scope))):
            await respond(request, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, request: Request) -> ProblemError | None:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        name = _name(host)
        if not (_cannot_be_foreign(name) or name in self._hosts):
            detail = "Without keys, the API does not answer to this host name; see PURIFIQA_ALLOWED_HOSTS."
            return ProblemError(421, "host-not-allowed", detail)
        own = {f"http://{host}", f"https://{host}"}
        if origin is None or origin in own | self._origins or request.method in _SAFE:
            return None
        return ProblemError(403, "origin-not-allowed", "Web pages from this origin may not use the API.")


def _name(host: str) -> str:
    """Return the name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return "not.a.name"


def _cannot_be_foreign(name: str) -> bool:
    """Return whether no stranger can make this name point here: an address, or a name without a dot."""
    if "." not in name or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
