"""The names of our keys in Redis, which nobody else spells.

Each has an owner and an end of life:

    purifiqa:job:<id>        hash: the record                          ends result_ttl after the job, or queue_ttl
    purifiqa:events:<id>     stream: its changes, newest 64            ends with the record
    purifiqa:expired:<id>    that there was such a job                 ends a week after the record
    purifiqa:housekeeping    which worker swept the store last         ends after 5 minutes
    purifiqa:workers         sorted set: live workers by lease end     entries leave when the lease ends
    purifiqa:worker:<name>   string: what it is doing                  ends with its lease
    purifiqa:store           hash: bytes and files in the store        ends after three sweeps that did not come
    purifiqa:jobs-total      hash: ended jobs by kind|defense|status   bounded by the catalogue
    purifiqa:measures        hash: histograms (workers/measures.py)    bounded by the catalogue, some 800 fields
"""

from typing import NamedTuple

PREFIX = "purifiqa:"
WORKERS = f"{PREFIX}workers"
TOTALS = f"{PREFIX}jobs-total"
HOUSEKEEPING = f"{PREFIX}housekeeping"
MEASURES = f"{PREFIX}measures"
STORE = f"{PREFIX}store"


class JobKeys(NamedTuple):
    """Everything that Redis holds of one job."""

    record: str
    events: str
    expired: str


def job_keys(job_id: str) -> JobKeys:
    """Return the keys of a job."""
    return JobKeys(f"{PREFIX}job:{job_id}", f"{PREFIX}events:{job_id}", f"{PREFIX}expired:{job_id}")


def worker_key(name: str) -> str:
    """Return the key that tells what a worker is doing."""
    return f"{PREFIX}worker:{name}"
