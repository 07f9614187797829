"""`/jobs/{id}`: follow, fetch, cancel, erase."""

from fastapi import APIRouter, Request, Response

from app.documentation import ETAG, IMAGES, RETRY_AFTER, problems
from app.documents import documents, retry_after
from app.ending import cancel, erase
from app.errors import ProblemError
from app.guard.callers import OwnedJob
from app.images import image_response
from app.schemas import JobDocument, WebhookDocument, job_document
from app.services import ServicesDep
from app.webhooks.messages import message_id
from workers.state.record import Delivery, Status

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Get a job",
    responses={200: {"headers": {"Retry-After": RETRY_AFTER}}, **problems(404, 410, 503)},
)
def get_job(record: OwnedJob, response: Response, services: ServicesDep) -> JobDocument:
    """200 while the job is kept, whatever its status; then 410 for a week. `Retry-After` says when to ask again."""
    [document] = documents(services, [record])
    response.headers.update(retry_after(services, record, document.position))
    return document


@router.get(
    "/{job_id}/image",
    operation_id="get_image",
    summary="Get the purified or attacked image",
    response_class=Response,
    responses={
        200: {"description": "The image", "content": IMAGES, "headers": ETAG},
        304: {"description": "The client has it already (`If-None-Match`)", "headers": ETAG},
        **problems(404, 409, 410, 503),
    },
)
def get_image(record: OwnedJob, request: Request, services: ServicesDep) -> Response:
    """The image file, with its SHA-256 as a strong ETag. 409 until the job is finished."""
    return image_response(request, services, record)


@router.get("/{job_id}/webhook", operation_id="get_webhook", summary="Get the delivery state of a job's webhook",
            responses=problems(404, 410, 503))  # fmt: skip
def get_webhook(record: OwnedJob) -> WebhookDocument:
    """404 if the order named no webhook. Delivery is pending until the job ends, and is first tried then."""
    if not record.origin.webhook:
        raise ProblemError(404, "no-webhook", "The order named no webhook.")
    delivery = record.delivery or Delivery(state="pending")
    return WebhookDocument(id=message_id(record), **delivery.model_dump())


@router.post(
    "/{job_id}/cancel", operation_id="cancel_job", summary="Cancel a job", responses=problems(404, 409, 410, 503)
)
def cancel_job(owned: OwnedJob, services: ServicesDep) -> JobDocument:
    """A waiting job never starts; a running one stops at its next step. Canceling twice is not an error. 409 if the job
    has already finished or failed.
    """
    record = cancel(services, owned.id)
    if record.status is not Status.CANCELED:
        raise ProblemError(409, "job-has-ended", f"The job is {record.status}; there is nothing to cancel.")
    return job_document(record)


@router.delete(
    "/{job_id}", operation_id="delete_job", summary="Erase a job", status_code=204, responses=problems(404, 410, 503)
)
def delete_job(owned: OwnedJob, services: ServicesDep) -> Response:
    """Cancels the job if it has not ended, and erases its image, result and record. After that, it is unknown (404)."""
    erase(services, owned.id)
    return Response(status_code=204)  # FastAPI's own would say that nothing is JSON
