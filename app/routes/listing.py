"""`GET /jobs`: one's own jobs, newest first, a page at a time."""

import base64
import binascii
import math
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

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


@router.get(
    "", operation_id="list_jobs", summary="Your jobs, newest first",
    responses={200: {"headers": {"Link": {"description": "The next page.", "schema": {"type": "string"}}}},
               **problems(422, 503)},
)  # fmt: skip
def list_jobs(
    response: Response,
    services: ServicesDep,
    caller: ReaderDep,
    status: Annotated[Status | None, Query(description="Only jobs that stand so.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most jobs on a page.")] = 20,
    cursor: Annotated[str | None, Query(max_length=200, description="From `links.next` of the page before.")] = None,
) -> JobList:
    """While jobs are still kept. A page may hold fewer than `limit`, even none, and yet have a `next`: ask on until it
    has none. Jobs that come while one pages do not move the pages.
    """
    page = services.queue.register.page(caller.id, status=status, limit=limit, after=_place(cursor) if cursor else None)
    asked = {"limit": str(limit), **({"status": str(status)} if status else {})}
    links = {"self": f"/jobs?{urlencode({**asked, **({'cursor': cursor} if cursor else {})})}"}
    if page.end:
        links["next"] = f"/jobs?{urlencode({**asked, 'cursor': _cursor(page.end)})}"
        response.headers["Link"] = f'<{links["next"]}>; rel="next"'
    return JobList(jobs=documents(services, page.jobs), links=links)


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(f"{place.created!r}:{place.job_id}".encode()).decode().rstrip("=")


def _place(cursor: str) -> Place:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        created, _, job_id = text.partition(":")
        place = Place(float(created), job_id)
    except (binascii.Error, ValueError) as error:
        raise field_problem(422, "cursor", "invalid-cursor", "take it from `links.next` of the page before") from error
    if not math.isfinite(place.created) or not place.job_id:
        raise field_problem(422, "cursor", "invalid-cursor", "take it from `links.next` of the page before")
    return place
