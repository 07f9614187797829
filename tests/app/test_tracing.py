"""One trace from the request to the worker's last step, when somebody collects spans; nothing otherwise."""

import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.testclient import TestClient

from app.main import create_app
from workers import jobs
from workers import worker as worker_module
from workers.state.queue import JobQueue
from workers.telemetry import tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def spans(monkeypatch):
    """The spans that ended so far, oldest first."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    for module in (jobs, tracing):  # bound to the provider of the moment of their first use
        monkeypatch.setattr(module, "tracer", provider.get_tracer("test"))
    return exporter.get_finished_spans


@pytest.fixture
def burst(settings):
    """Perform every waiting job in this process, as a worker would, and return."""
    from rq import SimpleWorker

    queue = JobQueue(settings)
    worker_module.context.cache_clear()

    def work():
        worker = SimpleWorker([queue.rq], connection=queue.rq.connection, serializer="json", log_job_description=False)
        worker.work(burst=True, logging_level="CRITICAL")

    yield work
    worker_module.context.cache_clear()
    queue.broker.connection.close()


def order(settings, photo_png, **headers):
    with TestClient(create_app(settings)) as client:
        client.get("/readyz")
        answer = client.post(
            "/purify", files={"image": photo_png}, data={"metrics": "entropy", "defense": "flip"}, headers=headers
        )
    assert answer.status_code == 202
    return answer.json()["id"]


def test_the_spans_of_a_request_and_of_its_job_are_one_tree(settings, spans, burst, photo_png):
    job_id = order(settings, photo_png, traceparent=TRACEPARENT)
    burst()
    by_name = {span.name: span for span in spans()}
    assert set(by_name) == {"POST /purify", "queue", "job", "decode", "purify", "score", "encode"}
    assert {f"{span.context.trace_id:032x}" for span in spans()} == {TRACE}
    request, job = by_name["POST /purify"], by_name["job"]
    assert f"{request.parent.span_id:016x}" == TRACEPARENT.split("-")[2]
    assert {by_name[name].parent.span_id for name in ("queue", "job")} == {request.context.span_id}
    assert {by_name[name].parent.span_id for name in ("decode", "purify", "score", "encode")} == {job.context.span_id}
    assert by_name["queue"].start_time <= by_name["queue"].end_time <= job.end_time
    assert job.attributes["purifiqa.job.id"] == job_id
    assert job.attributes["purifiqa.defense"] == "flip"


def test_without_a_trace_from_outside_the_request_begins_one(settings, spans, burst, photo_png):
    order(settings, photo_png)
    burst()
    [trace_id] = {span.context.trace_id for span in spans()}
    assert trace_id


def test_a_failed_job_is_a_failed_span_with_its_code(settings, spans, burst, photo_png, monkeypatch):
    from models.metric import MetricError

    def broken(*_args, **_kwargs):
        raise MetricError("no score")

    monkeypatch.setattr(worker_module, "execute", broken)
    order(settings, photo_png)
    burst()
    [job] = [span for span in spans() if span.name == "job"]
    assert (job.status.status_code, job.status.description) == (StatusCode.ERROR, "metric-failed")


def test_no_span_holds_what_was_sent(settings, spans, burst, photo_png):
    with TestClient(create_app(settings)) as client:
        client.post("/purify", files={"image": ("holiday.png", photo_png)}, data={"defense": "no-such-secret"})
    assert spans()
    assert not any(word in span.to_json() for span in spans() for word in ("holiday", "no-such-secret", "PNG"))


def test_without_a_collector_nothing_is_recorded_and_the_trace_goes_on_as_it_came(settings, burst, photo_png):
    job_id = order(settings, photo_png, traceparent=TRACEPARENT)
    burst()
    queue = JobQueue(settings)
    assert queue.ledger.get(job_id).origin.traceparent == TRACEPARENT
    queue.broker.connection.close()
    assert not trace.get_current_span().is_recording()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_sent_unless_an_endpoint_is_named(monkeypatch, variables):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(trace, "set_tracer_provider", lambda _: pytest.fail("a provider was set"))
    tracing.configure("purifiqa-worker")


def test_an_endpoint_without_the_extra_is_an_error_that_names_the_cure(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ValueError, match=r"purifiqa\[otel\]"):
        tracing.configure("purifiqa-worker")


def test_with_an_endpoint_spans_tell_which_part_of_purifiqa_they_are_from(monkeypatch):
    providers = []
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(trace, "set_tracer_provider", providers.append)
    tracing.configure("purifiqa-worker")
    [provider] = providers
    assert provider.resource.attributes["service.name"] == "purifiqa-worker"
    provider.shutdown()
