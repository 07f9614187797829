"""The order beside its image, so that what was accepted survives the loss of everything in Redis.

A file of JSON lines in the job's folder of the store: what was ordered and, once the job has ended, how, and what
became of its webhook. It is written before the record and removed before it. So a manifest without a record is a job
that Redis has lost, and a job that was erased has none; a later line is only ever added to a file that exists, so that
no erased job comes back. A batch is a file beside it, the same one for all of its jobs.
"""

import contextlib
import json
from typing import Any

from workers.state.batches import Batch
from workers.state.record import Delivery, JobRecord
from workers.state.store import Store

ROLE = "manifest"
BATCH_ROLE = "batch"
_ENDING = {"status", "started", "ended", "report", "failure"}


def open_manifest(store: Store, record: JobRecord, batch: Batch | None = None) -> None:
    """Write down what was ordered, and with what, on the disk itself. Raises StoreFullError, OSError."""
    if batch:
        store.put(record.id, BATCH_ROLE, batch.model_dump_json().encode(), durable=True)
    store.append(record.id, ROLE, _line(record.fixed()), create=True)


def close_manifest(store: Store, record: JobRecord) -> None:
    """Add how the job has ended, unless it has been erased."""
    store.append(record.id, ROLE, _line(record.model_dump(mode="json", include=_ENDING)))


def note_delivery(store: Store, job_id: str, delivery: Delivery) -> None:
    """Add what became of the job's webhook, unless the job has been erased."""
    store.append(job_id, ROLE, _line({"delivery": delivery.model_dump(mode="json")}))


def read_batch(store: Store, job_id: str) -> Batch | None:
    """Return the batch that a job is of; None if it is of none."""
    try:
        return Batch.model_validate_json(store.read(job_id, BATCH_ROLE))
    except (FileNotFoundError, ValueError):
        return None


def read_manifest(store: Store, job_id: str) -> JobRecord | None:
    """Return the record that a job's manifest tells; None if there is none that can be read."""
    try:
        first, *rest = store.read(job_id, ROLE).splitlines()
        fields = json.loads(first)
        for line in rest:
            with contextlib.suppress(ValueError):  # cut off while it was written: then that has not happened
                fields |= json.loads(line)
        return JobRecord(**fields)
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
