"""The order beside its image, so that what was accepted survives the loss of everything in Redis.

A file of JSON lines in the job's folder of the store: what was ordered and, once the job has ended, how. It is written
before the record and removed before it. So a manifest without a record is a job that Redis has lost, and a job that
was erased has none; the second line is only ever added to a file that exists, so that no erased job comes back.
"""

import contextlib
import json
from typing import Any

from workers.record import JobRecord
from workers.store import Store

ROLE = "manifest"
_ENDING = {"status", "started", "ended", "report", "failure"}


def open_manifest(store: Store, record: JobRecord) -> None:
    """Write down what was ordered, on the disk itself. Raises StoreFullError, OSError."""
    store.append(record.id, ROLE, _line(record.fixed()), create=True)


def close_manifest(store: Store, record: JobRecord) -> None:
    """Add how the job has ended, unless it has been erased."""
    store.append(record.id, ROLE, _line(record.model_dump(mode="json", include=_ENDING)))


def read_manifest(store: Store, job_id: str) -> JobRecord | None:
    """Return the record that a job's manifest tells; None if there is none that can be read."""
    try:
        first, *rest = store.read(job_id, ROLE).splitlines()
        fields = json.loads(first)
        with contextlib.suppress(ValueError):  # cut off while it was written: then the job has not ended
            fields |= json.loads(rest[0]) if rest else {}
        return JobRecord(**fields)
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
