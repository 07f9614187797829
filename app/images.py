"""The image that a job made as a response: a strong ETag, never sniffed, never shared by a cache between people."""

from fastapi import Request, Response
from fastapi.responses import FileResponse

from app.errors import ProblemError
from app.services import Services
from workers.orders import Kind
from workers.state.record import JobRecord, Status


def image_response(
    request: Request, services: Services, record: JobRecord, headers: dict[str, str] | None = None
) -> Response:
    """Return the image that a job made, or 304 if the client has it. Raises ProblemError when there is none."""
    if record.order.kind is Kind.SCORE:
        raise ProblemError(404, "no-image", "A score has no image; its numbers are in the job document.")
    if not record.status.is_final:
        raise ProblemError(
            409, "result-not-ready", f"The job is {record.status}; ask again.", headers={"Retry-After": "1"}
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
    # An image is sent whole: half of it is of no use to anyone.
    request.scope["headers"] = [(name, value) for name, value in request.scope["headers"] if name != b"range"]
    sent = ",".join(request.headers.getlist("if-none-match"))
    asked = [one.strip().removeprefix("W/") for one in sent.split(",")]
    if request.method == "GET" and (tag in asked or "*" in asked):
        return Response(status_code=304, headers=headers)
    path = services.store.path(record.id, "output")
    if not path.is_file():
        raise ProblemError(410, "job-expired", "The image has been kept as long as promised and is gone.")
    name = f"{record.id}{facts.format.suffix}"
    return FileResponse(path, headers=headers, media_type=facts.format.media_type, filename=name)
