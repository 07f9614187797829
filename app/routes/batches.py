"""`/batches/{id}`: several images of one request, taken together."""

import contextlib
from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.documentation import problems
from app.documents import batch_document, batch_records
from app.ending import cancel, erase
from app.errors import ProblemError
from app.guard.callers import ReaderDep, owned_batch
from app.schemas import BatchDocument
from app.services import Services, ServicesDep
from workers.state.batches import Batch
from workers.state.record import Status

router = APIRouter(prefix="/batches", tags=["jobs"])

BatchId = Annotated[str, Path(description="Batch id, from the answer to a request with several images.")]


@router.get("/{batch_id}", operation_id="get_batch", summary="Get a batch",
            responses=problems(404, 410, 503))  # fmt: skip
def get_batch(batch_id: BatchId, services: ServicesDep, caller: ReaderDep) -> BatchDocument:
    """Each item is a job, or the reason why its image was refused. A bad image does not affect the others."""
    return _document(services, owned_batch(services, caller, batch_id))


@router.post("/{batch_id}/cancel", operation_id="cancel_batch", summary="Cancel the unfinished jobs of a batch",
             responses=problems(404, 409, 410, 503))  # fmt: skip
def cancel_batch(batch_id: BatchId, services: ServicesDep, caller: ReaderDep) -> BatchDocument:
    """Finished jobs keep their results. 409 if every job has already finished or failed."""
    batch = owned_batch(services, caller, batch_id)
    canceled = []
    for record in batch_records(services, batch):
        with contextlib.suppress(LookupError):
            if record is not None:
                canceled.append(cancel(services, record.id).status is Status.CANCELED)
    if not any(canceled):
        raise ProblemError(409, "job-has-ended", "Every job of the batch has ended; there is nothing to cancel.")
    return _document(services, batch)


@router.delete("/{batch_id}", operation_id="delete_batch", summary="Erase a batch and all its jobs", status_code=204,
               response_class=Response, responses=problems(404, 410, 503))  # fmt: skip
def delete_batch(batch_id: BatchId, services: ServicesDep, caller: ReaderDep) -> Response:
    """Cancels unfinished jobs, and erases every image, result and record. After that, the batch is unknown (404)."""
    batch = owned_batch(services, caller, batch_id)
    for job_id in batch.job_ids:
        with contextlib.suppress(LookupError):
            erase(services, job_id)
        services.store.erase(job_id)
    services.queue.batches.remove(batch)
    return Response(status_code=204)


def _document(services: Services, batch: Batch) -> BatchDocument:
    return batch_document(services, batch, batch_records(services, batch))
