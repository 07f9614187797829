"""The tracer of the service: its spans cost next to nothing until `workers.telemetry.tracing` collects them."""

from opentelemetry import trace

tracer = trace.get_tracer("purifiqa")
