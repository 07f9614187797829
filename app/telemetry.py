"""Prometheus: what this process counts by itself, the requests it answers, and the text that a scrape gets."""

import time

from fastapi import FastAPI
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.collector import ServiceCollector
from app.request_context import method, route
from workers.state.queue import JobQueue
from workers.state.store import Store

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds; the last is the longest `Prefer: wait`."""


def make_registry(queue: JobQueue, store: Store) -> CollectorRegistry:
    """Return what `/metrics` tells, but for the requests."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # when a series began doubles their number
    registry = CollectorRegistry()
    registry.register(ServiceCollector(queue, store))
    ProcessCollector(registry=registry)
    return registry


class RequestMetrics:
    """ASGI middleware that counts and times requests by route, never by path."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        labels = ["route", "method", "status"]
        self._count = Counter("purifiqa_http_requests", "Requests answered.", labels, registry=registry)
        self._time = Histogram(
            "purifiqa_http_request_duration_seconds", "Seconds until the answer was complete.", labels[:2],
            buckets=BUCKETS, registry=registry,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._count.labels(route(scope), method(scope), str(status)).inc()
            self._time.labels(route(scope), method(scope)).observe(time.perf_counter() - start)


def exposition(app: FastAPI) -> tuple[bytes, str]:
    """Return the metrics of `app` as text and its media type."""
    return generate_latest(app.state.registry), CONTENT_TYPE_LATEST
