"""`/jobs/{id}`: follow, fetch, cancel, erase."""

from fastapi import APIRouter, Request, Response

from app.documentation import IMAGES, problems
from app.errors import ProblemError
from app.guard.callers import OwnedJob
from app.images import image_response
from app.schemas import JobDocument, job_document
from app.services import ServicesDep
from workers.manifest import ROLE as MANIFEST
from workers.manifest import close_manifest
from workers.record import Status

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("/{job_id}", operation_id="get_job", summary="A job, as it stands", responses=problems(404, 410, 503))
def get_job(record: OwnedJob) -> JobDocument:
    """Always 200 while the job is kept, whatever its status; 410 for a week after that."""
    return job_document(record)


@router.get(
    "/{job_id}/image",
    operation_id="get_image",
    summary="The purified image",
    response_class=Response,
    responses={
        200: {"description": "The image", "content": IMAGES, "headers": {"ETag": {"schema": {"type": "string"}}}},
        304: {"description": "The client has it already (`If-None-Match`)"},
        **problems(404, 409, 410, 503),
    },
)
def get_image(record: OwnedJob, request: Request, services: ServicesDep) -> Response:
    """Bytes with a strong ETag, the SHA-256 of the file. 409 until the job is finished."""
    return image_response(request, services, record)


@router.post(
    "/{job_id}/cancel", operation_id="cancel_job", summary="Cancel a job", responses=problems(404, 409, 410, 503)
)
def cancel_job(owned: OwnedJob, services: ServicesDep) -> JobDocument:
    """A waiting job never starts; a running one stops at its next step. Canceling twice is no error; 409 if the job
    has already finished or failed.
    """
    record = services.queue.cancel(owned.id)
    if record.status is not Status.CANCELED:
        raise ProblemError(409, "job-has-ended", f"The job is {record.status}; there is nothing to cancel.")
    close_manifest(services.store, record)
    return job_document(record)


@router.delete(
    "/{job_id}", operation_id="delete_job", summary="Erase a job", status_code=204, responses=problems(404, 410, 503)
)
def delete_job(owned: OwnedJob, services: ServicesDep) -> None:
    """Cancel it if it has not ended, and erase its image, its result and its record. After this it is unknown: 404."""
    services.store.drop(owned.id, MANIFEST)  # first: a manifest without a record would be restored
    services.queue.erase(owned.id)
    services.store.erase(owned.id)
