"""Who asks: a request's id and trace, in its answer, its problem, its job's record and every line of its log."""

import logging
import re
import time
import uuid
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.state.record import Origin
from workers.telemetry import logs

log = logging.getLogger("purifiqa.access")

HEADER = "X-Request-ID"
WATCHED = ("/livez", "/readyz", "/metrics")
"""Asked every few seconds by whatever watches the service: logged only at DEBUG, never traced."""

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_JOB = re.compile(r"/?(?:jobs/)?([0-9a-f]{32})")
_W3C = TraceContextTextMapPropagator()
_traceparent: ContextVar[str] = ContextVar("traceparent", default="")


def traced(origin: Origin) -> Origin:
    """Return the origin of an order with the id and the trace of the request that is being answered."""
    return origin.model_copy(update={"request_id": logs.bound("request_id"), "traceparent": _traceparent.get()})


def is_watching(scope: MutableMapping[str, Any]) -> bool:
    """Return whether a request comes from whatever watches over the service."""
    return scope.get("path") in WATCHED


def request_id(scope: Scope) -> str | None:
    """Return the id of a request; None before it has one."""
    found = scope.get("state", {}).get("request_id")
    return found if isinstance(found, str) else None


class RequestContext:
    """ASGI middleware, the outermost: names the request, follows its trace, and writes a line when it is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        name = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = name
        traceparent = _trace(headers)
        start = time.perf_counter()
        facts: dict[str, str | int] = {"status": 500, "job_id": ""}

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                out[HEADER] = name
                facts.update(status=message["status"], job_id=_job(scope, out.get("location", "")))
            await send(message)

        token = _traceparent.set(traceparent)
        with logs.bind(request_id=name, trace_id=traceparent[3:35]):
            try:
                await self._app(scope, receive, named)
            except Exception:
                log.exception("request failed")
                raise
            finally:
                _traceparent.reset(token)
                _write(scope, facts, time.perf_counter() - start)


def _request_id(headers: Headers) -> str:
    sent = headers.get(HEADER, "")
    return sent if _SANE.fullmatch(sent) else uuid.uuid4().hex


def _trace(headers: Headers) -> str:
    """Return the request's trace context, of our own span if it is recorded; "" if there is none that is valid."""
    sent = headers.getlist("traceparent")
    carrier: dict[str, str] = {}
    if trace.get_current_span().get_span_context().is_valid:
        _W3C.inject(carrier)
    elif len(sent) == 1:
        _W3C.inject(carrier, context=_W3C.extract({"traceparent": sent[0]}))
    return carrier.get("traceparent", "")


def _job(scope: Scope, location: str) -> str:
    found = _JOB.fullmatch(location) or _JOB.fullmatch(str(scope.get("path_params", {}).get("job_id", "")))
    return found[1] if found else ""


def _write(scope: Scope, facts: dict[str, str | int], seconds: float) -> None:
    owner = scope["state"].get("owner", "")
    log.log(
        logging.DEBUG if is_watching(scope) else logging.INFO,
        "request",
        extra={
            "method": method(scope),
            "route": route(scope),
            "duration_ms": round(seconds * 1000, 3),
            **{name: value for name, value in {**facts, "owner": owner}.items() if value},
        },
    )


def route(scope: Scope) -> str:
    """Return the template of the path, never the path itself."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


def method(scope: Scope) -> str:
    """Return the method, or "other" for one that HTTP does not define."""
    return scope["method"] if scope["method"] in _METHODS else "other"


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
