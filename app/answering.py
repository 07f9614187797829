"""The answer to an order: 202 with what was accepted, or 200 with the result for who waits, if it is done in time."""

import contextlib
import time

from anyio.to_thread import run_sync
from fastapi import Request, Response
from fastapi.responses import JSONResponse

from app.documents import batch_document, documents, retry_after
from app.idempotency import REPLAYED
from app.images import image_response
from app.intake import Accepted
from app.negotiation import seconds_to_wait
from app.services import Services
from models.images import ImageFormat
from workers.state.batches import Batch
from workers.state.broker import BROKER_ERRORS
from workers.state.record import JobRecord, Status

VARY = "Accept, Prefer"


async def answer(request: Request, services: Services, accepted: Accepted, form: ImageFormat | None) -> Response:
    """Return the answer to an order that was accepted.

    `form` is the image format that the client accepts as the answer itself; None: the job document.
    """
    batch, records = accepted.batch, accepted.records
    headers = {"Location": f"/batches/{batch.id}" if batch else f"/jobs/{records[0].id}", "Vary": VARY}
    if accepted.replayed:
        headers[REPLAYED] = "true"
    seconds = seconds_to_wait(request, services.settings.max_wait)
    if seconds is not None:
        headers["Preference-Applied"] = f"wait={seconds}"
        records = await _later(services, records, seconds)
    if batch:
        return await run_sync(_batch_answer, services, batch, records, headers, seconds is not None)
    [record] = records
    if record.status is Status.FINISHED and form is not None and seconds is not None:
        return await run_sync(image_response, request, services, record, headers)
    return await run_sync(_job_answer, services, record, headers, seconds is not None)


async def _later(services: Services, records: list[JobRecord], seconds: int) -> list[JobRecord]:
    """Return the records as they stand when all have ended, or after so many seconds."""
    deadline = time.monotonic() + seconds
    for record in records:
        if not record.status.is_final:
            await services.queue.events.wait(record.id, deadline - time.monotonic())
    with contextlib.suppress(*BROKER_ERRORS):  # it has been accepted: that stays the answer
        now = await run_sync(services.queue.ledger.get_all, [record.id for record in records])
        return [new or old for old, new in zip(records, now, strict=True)]
    return records


def _job_answer(services: Services, record: JobRecord, headers: dict[str, str], waited: bool) -> Response:  # noqa: FBT001
    [document] = documents(services, [record])
    headers |= retry_after(services, record, document.position)
    status = 200 if waited and record.status.is_final else 202
    return JSONResponse(document.model_dump(mode="json"), status, headers)


def _batch_answer(
    services: Services,
    batch: Batch,
    records: list[JobRecord],
    headers: dict[str, str],
    waited: bool,  # noqa: FBT001
) -> Response:
    document = batch_document(services, batch, records)
    if last := next((record for record in reversed(records) if not record.status.is_final), None):
        job = next(item.job for item in reversed(document.items) if item.job and item.job.id == last.id)
        headers |= retry_after(services, last, job.position)
    status = 200 if waited and document.status.is_final else 202
    return JSONResponse(document.model_dump(mode="json"), status, headers)
