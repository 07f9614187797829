"""`/jobs/{id}`: follow, fetch, cancel, erase."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.documentation import IMAGES, RETRY_AFTER, problems
from app.documents import documents, retry_after
from app.errors import ProblemError
from app.images import image_response
from app.ownership import OwnerDep, owned
from app.schemas import JobDocument, WebhookDocument, job_document
from app.services import ServicesDep
from app.webhooks.messages import message_id
from workers.manifest import ROLE as MANIFEST
from workers.manifest import close_manifest
from workers.record import Delivery, Status

router = APIRouter(prefix="/jobs", tags=["jobs"])

JobId = Annotated[str, Path(description="From the answer to `POST /purify` or `POST /score`.")]


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="A job, as it stands",
    responses={200: {"headers": {"Retry-After": RETRY_AFTER}}, **problems(404, 410, 503)},
)
def get_job(job_id: JobId, response: Response, services: ServicesDep, owner: OwnerDep) -> JobDocument:
    """Always 200 while the job is kept, whatever its status; 410 for a week after that. `Retry-After` tells when it
    makes sense to ask again.
    """
    record = owned(services.queue.get(job_id), owner)
    [document] = documents(services, [record])
    response.headers.update(retry_after(services, record, document.position))
    return document


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
def get_image(job_id: JobId, request: Request, services: ServicesDep, owner: OwnerDep) -> Response:
    """Bytes with a strong ETag, the SHA-256 of the file. 409 until the job is finished."""
    return image_response(request, services, owned(services.queue.get(job_id), owner))


@router.get("/{job_id}/webhook", operation_id="get_webhook", summary="What became of a job's webhook",
            responses=problems(404, 410, 503))  # fmt: skip
def get_webhook(job_id: JobId, services: ServicesDep, owner: OwnerDep) -> WebhookDocument:
    """404 if the order named none. It is pending from the start, and first tried when the job has ended."""
    record = owned(services.queue.get(job_id), owner)
    if not record.origin.webhook:
        raise ProblemError(404, "no-webhook", "The order named no webhook.")
    delivery = record.delivery or Delivery(state="pending")
    return WebhookDocument(id=message_id(record), **delivery.model_dump())


@router.post(
    "/{job_id}/cancel", operation_id="cancel_job", summary="Cancel a job", responses=problems(404, 409, 410, 503)
)
def cancel_job(job_id: JobId, services: ServicesDep, owner: OwnerDep) -> JobDocument:
    """A waiting job never starts; a running one stops at its next step. Canceling twice is no error; 409 if the job
    has already finished or failed.
    """
    owned(services.queue.get(job_id), owner)
    record = services.queue.cancel(job_id)
    if record.status is not Status.CANCELED:
        raise ProblemError(409, "job-has-ended", f"The job is {record.status}; there is nothing to cancel.")
    close_manifest(services.store, record)
    return job_document(record)


@router.delete(
    "/{job_id}", operation_id="delete_job", summary="Erase a job", status_code=204, responses=problems(404, 410, 503)
)
def delete_job(job_id: JobId, services: ServicesDep, owner: OwnerDep) -> None:
    """Cancel it if it has not ended, and erase its image, its result and its record. After this it is unknown: 404."""
    owned(services.queue.get(job_id), owner)
    services.store.drop(job_id, MANIFEST)  # first: a manifest without a record would be restored
    services.queue.erase(job_id)
    services.store.erase(job_id)
