"""`GET /jobs/{id}/events`: a job's changes as they happen, as server-sent events."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.types import Receive, Scope, Send

from app.documentation import problems
from app.documents import bounded
from app.errors import ProblemError, field_problem
from app.guard.callers import OwnedJob
from app.schemas import job_document
from app.services import Services, ServicesDep
from workers.state.broker import BROKER_ERRORS
from workers.state.events import BLOCK_SECONDS, START, Change, is_change_id
from workers.state.record import Status

router = APIRouter(prefix="/jobs", tags=["jobs"])

PING_SECONDS = 14.0
RECONNECT_MS = 2000
_EVENT = {
    "type": "object",
    "description": "An event of the stream.",
    "properties": {
        "event": {"type": "string", "enum": [*Status, "progress"]},
        "id": {"type": "string"},
        "data": {"type": "string", "description": "JSON."},
        "retry": {"type": "integer"},
    },
}
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class _Stream(StreamingResponse):
    """A response that gives its place among the followers back, however it ends."""

    def __init__(self, content: AsyncIterator[bytes], release: Callable[[], None]) -> None:
        super().__init__(content, headers=_HEADERS, media_type="text/event-stream")
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()


@router.get(
    "/{job_id}/events",
    operation_id="follow_job",
    summary="Follow a job (server-sent events)",
    response_class=Response,  # FastAPI's own would call the endpoint as a generator, which cannot answer 204
    responses={
        200: {"description": "Server-sent events: queued, running, progress, finished, failed, canceled",
              "content": {"text/event-stream": {"itemSchema": _EVENT}}},
        204: {"description": "The job has ended, and there are no events after `Last-Event-ID`"},
        **problems(404, 410, 422, 503),
    },
)  # fmt: skip
async def follow_job(
    record: OwnedJob,
    services: ServicesDep,
    last_event_id: Annotated[
        str | None, Header(description="Resume after this event; browsers send it when they reconnect.")
    ] = None,
) -> Response:
    """The stream begins with past events and ends when the job ends. The data of the last event is the job document;
    that of the others has `id`, `status`, `progress` and `links`. Ids grow. Comments keep a quiet connection open.
    """
    job_id = record.id
    if last_event_id and not is_change_id(last_event_id):
        raise field_problem(422, "Last-Event-ID", "invalid-event-id", "send the id of an event of this job")
    after = last_event_id or START
    if record.status.is_final and not await services.queue.events.has_more(job_id, after):
        return Response(status_code=204)
    taken = object()
    try:
        services.followers.acquire_on_behalf_of_nowait(taken)
    except anyio.WouldBlock as error:
        raise ProblemError(
            503, "too-many-followers", "Too many event streams are open; poll the job instead, or retry later.",
            headers={"Retry-After": str(bounded(services, 5))},
        ) from error  # fmt: skip
    return _Stream(_events(services, job_id, after), lambda: services.followers.release_on_behalf_of(taken))


async def _events(services: Services, job_id: str, after: str) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RECONNECT_MS)
    quiet = 0.0
    async for change in services.queue.events.follow(job_id, after):
        if change is not None:
            quiet = 0.0
            yield format_sse_event(event=change.name, id=change.id, data_str=await _data(services, job_id, change))
        elif (quiet := quiet + BLOCK_SECONDS) >= PING_SECONDS:
            quiet = 0.0
            yield KEEPALIVE_COMMENT


async def _data(services: Services, job_id: str, change: Change) -> str:
    if change.status.is_final:
        try:
            record = await run_sync(services.queue.ledger.get, job_id)
            if record.status is change.status:
                return job_document(record).model_dump_json()
        except (LookupError, *BROKER_ERRORS):
            pass  # the links say where it is, or was
    place = f"/jobs/{job_id}"
    links = {"self": place, "events": f"{place}/events"}
    return json.dumps({"id": job_id, "status": change.status, "progress": change.progress, "links": links})
