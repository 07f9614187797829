"""The tracer of the service: its spans cost next to nothing until somebody collects them (workers/tracing.py)."""

from opentelemetry import trace

tracer = trace.get_tracer("purifiqa")
