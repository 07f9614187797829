"""What RQ's queue holds of our jobs, and how that is named. A job has one entry at a time; earlier ones are void."""

from dataclasses import dataclass

ENTRY = "workers.worker.perform"
"""The one function that an entry may call."""
RQ_QUEUE = "purifiqa"


@dataclass(frozen=True)
class Entries:
    """What RQ holds: the entries that wait, and those that were taken but not yet begun."""

    waiting: frozenset[str]
    taken: frozenset[str]


def entry_id(job_id: str, placement: int) -> str:
    """Return the id, for RQ, of a job's n-th entry in the queue."""
    return job_id if placement == 1 else f"{job_id}--{placement}"


def read_entry(entry: str) -> tuple[str, int]:
    """Return the job that an entry is of, and which of its entries this is. Raises ValueError."""
    job_id, _, placement = entry.partition("--")
    return job_id, int(placement or 1)


def job_of(entry: str) -> str:
    """Return the job that an entry is of, whoever wrote it."""
    return entry.partition("--")[0]
