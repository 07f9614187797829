"""Records become documents, with what only the queue knows of them: how many wait before, and when to ask again."""

import contextlib
import math
from collections import Counter
from collections.abc import Sequence

from app.errors import Problem, ProblemError
from app.schemas import BatchDocument, BatchItemDocument, JobDocument, failure_problem, job_document
from app.services import Services
from workers.state.batches import Batch
from workers.state.broker import BROKER_ERRORS
from workers.state.ledger import JobExpiredError
from workers.state.record import JobRecord, Status


def documents(services: Services, records: Sequence[JobRecord]) -> list[JobDocument]:
    """Return the documents of these jobs, with their positions if the broker answers."""
    waiting = [record for record in records if record.status is Status.QUEUED]
    places: dict[str, int | None] = {}
    with contextlib.suppress(*BROKER_ERRORS):  # a job's state is worth telling without its place
        found = services.queue.outlook.positions(waiting) if waiting else []
        places = {record.id: place for record, place in zip(waiting, found, strict=True)}
    return [job_document(record, places.get(record.id)) for record in records]


def retry_after(services: Services, record: JobRecord, position: int | None) -> dict[str, str]:
    """Return the header that tells when it makes sense to ask for this job again; none if it has ended."""
    if record.status.is_final:
        return {}
    seconds = 1.0
    with contextlib.suppress(*BROKER_ERRORS):
        seconds = services.queue.outlook.seconds_left(record, position)
    return {"Retry-After": str(bounded(services, seconds))}


def bounded(services: Services, seconds: float) -> int:
    """Return whole seconds, at least 1 and at most what the operator allows."""
    return max(1, min(math.ceil(seconds), services.settings.max_retry_after))


def seconds_until_shorter(services: Services) -> int:
    """Return in how many seconds a tenth of the waiting jobs should be done. Raises BROKER_ERRORS."""
    return bounded(services, services.queue.outlook.backlog_seconds() / 10)


def batch_records(services: Services, batch: Batch) -> list[JobRecord | None]:
    """Return the records of a batch's jobs; None for one that is gone. Raises JobExpiredError if all are."""
    records = services.queue.ledger.get_all(batch.job_ids)
    if not any(records):
        raise JobExpiredError(batch.id)
    return records


def batch_document(services: Services, batch: Batch, records: Sequence[JobRecord | None]) -> BatchDocument:
    """Return the document of a batch; `records` are those of its jobs, None for one that is gone."""
    known = [record for record in records if record]
    jobs = {job.id: job for job in documents(services, known)}
    place = f"/batches/{batch.id}"
    items: list[BatchItemDocument] = []
    for index, item in enumerate(batch.items):
        job = jobs.get(item.job_id or "")
        status: Status | None
        error: Problem | None
        if item.refusal:
            status, error = Status.FAILED, failure_problem(item.refusal, place)
        elif job:
            status, error = job.status, job.error
        else:
            status, error = (
                None,
                ProblemError(410, "job-expired", "The job has expired or was erased.").document(f"/jobs/{item.job_id}"),
            )
        items.append(BatchItemDocument(index=index, status=status, job=job, error=error))
    whole = overall([record.status for record in known])
    links = {"self": place}
    if not whole.is_final:
        links["cancel"] = f"{place}/cancel"
    done = sum(1.0 if item.job is None or item.job.status.is_final else item.job.progress for item in items)
    return BatchDocument(
        id=batch.id,
        kind=batch.kind,
        status=whole,
        progress=round(done / len(items), 4),
        counts=dict(Counter(str(item.status or "gone") for item in items)),
        items=items,
        links=links,
    )


def overall(statuses: Sequence[Status]) -> Status:
    """Return the status of jobs taken together."""
    present = set(statuses)
    if any(not status.is_final for status in present):
        return Status.QUEUED if present == {Status.QUEUED} else Status.RUNNING
    return next(one for one in (Status.FINISHED, Status.CANCELED, Status.FAILED) if one in present)
