"""Prometheus: requests are counted in this process; jobs, queue and workers are read from Redis when asked."""

import time
from collections.abc import Iterator

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.ledger import BROKER_ERRORS
from workers.queue import JobQueue


class QueueCollector(Collector):
    """What Redis knows, at the moment of the scrape."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        """Yield the queue's metrics; only `purifiqa_redis_up` when Redis does not answer."""
        up = GaugeMetricFamily("purifiqa_redis_up", "Whether Redis answers.")
        try:
            depth, workers, totals = self._queue.depth(), self._queue.workers(), self._queue.totals()
        except BROKER_ERRORS:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield GaugeMetricFamily("purifiqa_queue_depth", "Jobs that wait.", value=depth)
        yield GaugeMetricFamily("purifiqa_workers", "Workers that are alive and ready.", value=len(workers))
        ended = CounterMetricFamily("purifiqa_jobs", "Jobs that ended.", labels=["kind", "defense", "outcome"])
        for labels, count in totals.items():
            ended.add_metric(list(labels), count)
        yield ended


class RequestMetrics:
    """ASGI middleware that counts and times requests by route, never by path."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        labels = ["route", "method", "status"]
        self._count = Counter("purifiqa_http_requests", "Requests answered.", labels, registry=registry)
        self._time = Histogram(
            "purifiqa_http_request_duration_seconds", "Time to the end of the answer.", labels[:2], registry=registry
        )

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
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._count.labels(route, method, str(status)).inc()
            self._time.labels(route, method).observe(time.perf_counter() - start)


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def exposition(app: FastAPI) -> tuple[bytes, str]:
    """Return the metrics of `app` as text and its media type."""
    return generate_latest(app.state.registry), CONTENT_TYPE_LATEST
