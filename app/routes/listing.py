"""`GET /jobs`: one's own jobs, newest first, a page at a time."""

import base64
import binascii
import math
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.documentation import problems
from app.documents import documents
from app.errors import field_problem
from app.guard.callers import ReaderDep
from app.schemas import JobList
from app.services import ServicesDep
from workers.state.record import Status
from workers.state.register import Place

router = APIRouter(prefix="/jobs", tags=["jobs"])

MAX_LIMIT = 100


class Filter(BaseModel):
    """Which jobs, and where to go on. Another parameter is refused: one that is mistyped would list all jobs."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = Field(None, description="Only jobs that stand so.")
    limit: int = Field(20, ge=1, le=MAX_LIMIT, description="Most jobs on a page.")
    cursor: str | None = Field(None, max_length=200, description="From `links.next` of the previous page.")


@router.get(
    "", operation_id="list_jobs", summary="List your jobs, newest first",
    responses={200: {"headers": {"Link": {"description": "Link to the next page.", "schema": {"type": "string"}}}},
               **problems(422, 503)},
)  # fmt: skip
def list_jobs(
    request: Request, response: Response, services: ServicesDep, caller: ReaderDep, asked: Annotated[Filter, Query()]
) -> JobList:
    """Lists the jobs that are still kept. A page may hold fewer jobs than `limit`, even none, and still have a `next`:
    continue until there is none. New jobs do not shift the pages.
    """
    for name in asked.model_fields_set:
        if (times := len(request.query_params.getlist(name))) > 1:
            raise field_problem(422, name, "sent-twice", "send this parameter only once", limit=1, actual=times)
    after = _place(asked.cursor) if asked.cursor else None
    page = services.queue.register.page(caller.id, status=asked.status, limit=asked.limit, after=after)
    links = {"self": _link(asked)}
    if page.end:
        links["next"] = _link(asked.model_copy(update={"cursor": _cursor(page.end)}))
        response.headers["Link"] = f'<{links["next"]}>; rel="next"'
    return JobList(jobs=documents(services, page.jobs), links=links)


def _link(asked: Filter) -> str:
    parts = {"limit": asked.limit, "status": asked.status, "cursor": asked.cursor}
    return f"/jobs?{urlencode({name: str(part) for name, part in parts.items() if part})}"


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(f"{place.created!r}:{place.job_id}".encode()).decode().rstrip("=")


def _place(cursor: str) -> Place:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        created, _, job_id = text.partition(":")
        place = Place(float(created), job_id)
    except (binascii.Error, ValueError) as error:
        raise field_problem(
            422, "cursor", "invalid-cursor", "take it from `links.next` of the previous page"
        ) from error
    if not math.isfinite(place.created) or not place.job_id:
        raise field_problem(422, "cursor", "invalid-cursor", "take it from `links.next` of the previous page")
    return place
