"""Take an order in, answer it now if it is done in time, and say where to ask otherwise."""

import contextlib
import uuid

from anyio.to_thread import run_sync
from fastapi import Request, Response
from fastapi.responses import JSONResponse

from app.images import image_response
from app.negotiation import seconds_to_wait
from app.request_context import traced
from app.schemas import job_document
from app.services import Services
from models.images import ImageFacts, ImageFormat
from workers.jobs import Order
from workers.ledger import BROKER_ERRORS
from workers.record import JobRecord, Origin, Status

POLL_SECONDS = 1
VARY = "Accept, Prefer"


async def take(services: Services, order: Order, data: bytes, image: ImageFacts) -> JobRecord:
    """Keep the image, write the record and queue the job: after this it will be done. Raises BROKER_ERRORS, OSError."""
    return await run_sync(_keep, services, order, data, image)


def _keep(services: Services, order: Order, data: bytes, image: ImageFacts) -> JobRecord:
    job_id = uuid.uuid4().hex
    try:
        services.store.put(job_id, "input", data, durable=True)
        return services.queue.submit(job_id, order, image, traced(Origin()))
    except BaseException:
        services.store.erase(job_id)
        raise


async def answer(request: Request, services: Services, record: JobRecord, form: ImageFormat | None = None) -> Response:
    """Return 202 with the job document, or 200 with the result if the client waits and it is done in time.

    `form` is the image format that the client accepts as the answer itself; None: the job document.
    """
    headers = {"Location": f"/jobs/{record.id}", "Vary": VARY}
    seconds = seconds_to_wait(request, services.settings.max_wait)
    if seconds is not None:
        headers["Preference-Applied"] = f"wait={seconds}"
        await services.queue.wait(record.id, seconds)
        with contextlib.suppress(*BROKER_ERRORS):  # it has been accepted: that stays the answer
            record = await run_sync(services.queue.get, record.id)
    if not record.status.is_final:
        headers["Retry-After"] = str(POLL_SECONDS)
        return JSONResponse(job_document(record).model_dump(mode="json"), 202, headers)
    if record.status is Status.FINISHED and form is not None:
        return image_response(request, services, record, headers)
    return JSONResponse(job_document(record).model_dump(mode="json"), 200, headers)
