"""End jobs by request: in Redis and in the store alike, in the order that survives a kill in between."""

from app.services import Services
from workers.state.manifest import ROLE as MANIFEST
from workers.state.manifest import close_manifest, read_manifest
from workers.state.record import JobRecord, Status


def cancel(services: Services, job_id: str) -> JobRecord:
    """Cancel a job if it has not ended; return the record as it stands then. Raises LookupError, BROKER_ERRORS."""
    record = services.queue.cancel(job_id)
    if record.status is Status.CANCELED and not _is_told(services, record):
        close_manifest(services.store, record)
    return record


def _is_told(services: Services, record: JobRecord) -> bool:
    """Return whether the store tells of this end already: whoever cancels again adds nothing to it."""
    told = read_manifest(services.store, record.id)
    return told is not None and told.status is record.status


def erase(services: Services, job_id: str) -> None:
    """Erase every trace of a job. Raises LookupError, BROKER_ERRORS."""
    services.queue.ledger.get(job_id)
    services.store.drop(job_id, MANIFEST)  # first: a manifest without a record would be restored
    services.queue.erase(job_id)
    services.store.erase(job_id)
