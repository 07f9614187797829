"""The image that a job made as a response: a strong ETag, never sniffed, never shared by a cache between people."""

import functools
import os
from email.utils import formatdate
from typing import BinaryIO

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.errors import ProblemError
from app.services import Services
from workers.orders import Kind
from workers.state.record import JobRecord, Status

CHUNK_BYTES = 65_536


class _FileBody(StreamingResponse):
    """An open file, sent whole from its beginning: erasing it meanwhile takes nothing from whoever reads it."""

    def __init__(self, file: BinaryIO, headers: dict[str, str], media_type: str) -> None:
        facts = os.fstat(file.fileno())
        more = {"Content-Length": str(facts.st_size), "Last-Modified": formatdate(facts.st_mtime, usegmt=True)}
        chunks = iter(functools.partial(file.read, CHUNK_BYTES), b"")
        super().__init__(chunks, headers={**headers, **more}, media_type=media_type)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


def image_response(
    request: Request, services: Services, record: JobRecord, headers: dict[str, str] | None = None
) -> Response:
    """Return the image that a job made, or 304 if the client has it. Raises ProblemError when there is none.

    Also LookupError if the job has been erased in this very moment, BROKER_ERRORS.
    """
    if record.order.kind is Kind.SCORE:
        raise ProblemError(404, "no-image", "A score has no image; the scores are in the job document.")
    if not record.status.is_final:
        raise ProblemError(
            409, "result-not-ready", f"The job is {record.status}; retry later.", headers={"Retry-After": "1"}
        )
    facts = record.report.image if record.report else None
    if record.status is not Status.FINISHED or facts is None:
        raise ProblemError(409, "no-result", f"The job is {record.status}, so there is no image.")
    tag = f'"{facts.sha256}"'
    headers = {
        **(headers or {}),
        "ETag": tag,
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "none",
        "Content-Location": f"/jobs/{record.id}/image",
        "X-PurifIQA-Seed": str(record.order.seed),
    }
    sent = ",".join(request.headers.getlist("if-none-match"))
    asked = [one.strip().removeprefix("W/") for one in sent.split(",")]
    if request.method == "GET" and (tag in asked or "*" in asked):
        return Response(status_code=304, headers=headers)
    try:
        file = services.store.path(record.id, "output").open("rb")
    except FileNotFoundError as error:
        services.queue.ledger.get(record.id)
        raise ProblemError(410, "job-expired", "The image has expired: its retention time is over.") from error
    headers["Content-Disposition"] = f'attachment; filename="{record.id}{facts.format.suffix}"'
    return _FileBody(file, headers, facts.format.media_type)
