"""`/batches/{id}`: several images of one request, taken together."""

import contextlib
from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.documentation import problems
from app.documents import batch_document, batch_records
from app.errors import ProblemError
from app.ownership import OwnerDep
from app.schemas import BatchDocument
from app.services import Services, ServicesDep
from workers.batches import Batch
from workers.ledger import JobUnknownError
from workers.manifest import ROLE as MANIFEST
from workers.record import Status

router = APIRouter(prefix="/batches", tags=["jobs"])

BatchId = Annotated[str, Path(description="From the answer to a request with several images.")]


@router.get("/{batch_id}", operation_id="get_batch", summary="Several images, as they stand",
            responses=problems(404, 410, 503))  # fmt: skip
def get_batch(batch_id: BatchId, services: ServicesDep, owner: OwnerDep) -> BatchDocument:
    """Each item is a job, or tells why the image was refused: one bad image never harms the others."""
    return _document(services, _owned(services, batch_id, owner))


@router.post("/{batch_id}/cancel", operation_id="cancel_batch", summary="Cancel what has not ended of a batch",
             responses=problems(404, 409, 410, 503))  # fmt: skip
def cancel_batch(batch_id: BatchId, services: ServicesDep, owner: OwnerDep) -> BatchDocument:
    """What has finished stays. 409 if every job had already finished or failed."""
    batch = _owned(services, batch_id, owner)
    canceled = []
    for record in batch_records(services, batch):
        with contextlib.suppress(LookupError):
            if record is not None:
                canceled.append(services.queue.cancel(record.id).status is Status.CANCELED)
    if not any(canceled):
        raise ProblemError(409, "job-has-ended", "Every job of the batch has ended; there is nothing to cancel.")
    return _document(services, batch)


@router.delete("/{batch_id}", operation_id="delete_batch", summary="Erase a batch and all its jobs", status_code=204,
               response_class=Response, responses=problems(404, 410, 503))  # fmt: skip
def delete_batch(batch_id: BatchId, services: ServicesDep, owner: OwnerDep) -> None:
    """Cancel what has not ended, and erase every image, result and record. After this it is unknown: 404."""
    batch = _owned(services, batch_id, owner)
    for job_id in batch.job_ids:
        services.store.drop(job_id, MANIFEST)
        with contextlib.suppress(LookupError):
            services.queue.erase(job_id)
        services.store.erase(job_id)
    services.queue.batches.remove(batch)


def _owned(services: Services, batch_id: str, owner: str) -> Batch:
    batch = services.queue.batches.get(batch_id)
    if batch.owner != owner:
        raise JobUnknownError(batch_id)
    return batch


def _document(services: Services, batch: Batch) -> BatchDocument:
    return batch_document(services, batch, batch_records(services, batch))
