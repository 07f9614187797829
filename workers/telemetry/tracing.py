"""Spans of a worker, as children of the request that a job came from. They cost next to nothing until they are sent.

They are sent where OTEL_EXPORTER_OTLP_ENDPOINT says, the standard variable, if the extra `otel` is installed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from workers.spans import tracer
from workers.state.record import JobRecord

_W3C = TraceContextTextMapPropagator()
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def configure(service: str) -> None:
    """Send the spans of this process, a part of PurifIQA, to the endpoint in the environment, if there is one.

    Raises ValueError where they could not be sent.
    """
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or os.environ.get("OTEL_TRACES_EXPORTER") == "none" or not any(map(os.environ.get, _ENDPOINTS)):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        message = 'OTEL_EXPORTER_OTLP_ENDPOINT is set, but the extra for it is missing: pip install "purifiqa[otel]"'
        raise ValueError(message) from error
    facts = {"service.namespace": "purifiqa", "service.name": os.environ.get("OTEL_SERVICE_NAME", service)}
    provider = TracerProvider(resource=Resource.create(facts))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


@contextmanager
def job_span(record: JobRecord, begun: float) -> Iterator[None]:
    """Record how long the job waited until `begun`, in seconds since the epoch, and a span around doing it."""
    context = _W3C.extract({"traceparent": record.origin.traceparent})
    attributes = {
        "purifiqa.job.id": record.id,
        "purifiqa.job.kind": str(record.order.kind),
        **{f"purifiqa.{name}": value for name, value in record.order.names.items() if name != "kind"},
    }
    waited = tracer.start_span("queue", context, start_time=_nanoseconds(record.created), attributes=attributes)
    waited.end(_nanoseconds(max(begun, record.created)))
    with tracer.start_as_current_span("job", context, SpanKind.CONSUMER, attributes):
        yield


def failed(code: str) -> None:
    """Mark the span around here as failed with this code."""
    trace.get_current_span().set_status(Status(StatusCode.ERROR, code))


def trace_id(traceparent: str) -> str:
    """Return the trace id in a trace context, "" if there is none."""
    return traceparent[3:35]


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
