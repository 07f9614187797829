"""The names of our keys in Redis, which nobody else spells.

Each has an owner and an end of life:

    purifiqa:job:<id>        hash: the record                          ends result_ttl after the job, or queue_ttl
    purifiqa:events:<id>     stream: its changes, newest 64            ends with the record
    purifiqa:expired:<id>    that there was such a job                 ends a week after the record
    purifiqa:rate:<owner>    hash: turns left to an API key            ends when they have all come back
    purifiqa:inflight:<owner> sorted set: its jobs by submission       jobs leave when they end, all after two queue_ttl
    purifiqa:lease:<id>      which worker performs it                  ends when not renewed, or with the job
    purifiqa:rounds          sorted set: entries of the queue by round entries leave when they are passed; queue_ttl
    purifiqa:next-rounds     hash: the round that an owner is up in    ends when the queue is empty; queue_ttl
    purifiqa:open            sorted set: jobs not ended, by creation   entries leave when the job ends
    purifiqa:ends            sorted set: all jobs, by the end of their life   entries leave with the job's files
    purifiqa:missing         hash: what the reconciler misses, since when   entries leave when found or recovered
    purifiqa:reconciling     which worker reconciles now               ends after seconds
    purifiqa:broker          the run of the broker last reconciled     ends after a day
    purifiqa:probe           nothing: whether Redis takes writes       ends after a millisecond
    purifiqa:housekeeping    which worker swept the store last         ends after 5 minutes
    purifiqa:workers         sorted set: live workers by lease end     entries leave when the lease ends
    purifiqa:worker:<name>   string: what it is doing                  ends with its lease
    purifiqa:store           hash: bytes and files in the store        ends after three sweeps that did not come
    purifiqa:jobs-total      hash: ended jobs by kind|defense|status   bounded by the catalogue
    purifiqa:measures        hash: histograms (workers/state/measures.py)    bounded by the catalogue, some 1,250 fields
    purifiqa:jobs-of:<owner> sorted set: an owner's jobs by time       entries leave with the record, or when found out
    purifiqa:batch:<id>      string: the jobs of one request           ends when the last of its records must have
    purifiqa:idempotency:<h> string: the job of an Idempotency-Key    ends after a day, or when the job is erased
    purifiqa:answer:<h>      string: the job that has this answer      ends with that job's result
    purifiqa:pace            hash: mean seconds per kind|defense       bounded by the catalogue; ends a day after use
    purifiqa:webhooks        sorted set: webhooks to send, by time     entries leave when sent or given up
"""

from typing import NamedTuple

PREFIX = "purifiqa:"
WORKERS = f"{PREFIX}workers"
TOTALS = f"{PREFIX}jobs-total"
HOUSEKEEPING = f"{PREFIX}housekeeping"
PROBE = f"{PREFIX}probe"
ROUNDS = f"{PREFIX}rounds"
NEXT_ROUNDS = f"{PREFIX}next-rounds"
OPEN = f"{PREFIX}open"
ENDS = f"{PREFIX}ends"
MISSING = f"{PREFIX}missing"
RECONCILING = f"{PREFIX}reconciling"
BROKER = f"{PREFIX}broker"
MEASURES = f"{PREFIX}measures"
STORE = f"{PREFIX}store"
PACE = f"{PREFIX}pace"
WEBHOOKS = f"{PREFIX}webhooks"


class JobKeys(NamedTuple):
    """Everything that Redis holds of one job."""

    record: str
    events: str
    expired: str
    lease: str


def rate_key(owner: str) -> str:
    """Return the key of an owner's turns."""
    return f"{PREFIX}rate:{owner}"


def in_flight_key(owner: str) -> str:
    """Return the key of an owner's jobs that have not ended."""
    return f"{PREFIX}inflight:{owner}"


def job_keys(job_id: str) -> JobKeys:
    """Return the keys of a job."""
    return JobKeys(*(f"{PREFIX}{kind}:{job_id}" for kind in ("job", "events", "expired", "lease")))


def worker_key(name: str) -> str:
    """Return the key that tells what a worker is doing."""
    return f"{PREFIX}worker:{name}"


def jobs_of(owner: str) -> str:
    """Return the key of an owner's list of jobs."""
    return f"{PREFIX}jobs-of:{owner}"


def batch_key(batch_id: str) -> str:
    """Return the key of a batch."""
    return f"{PREFIX}batch:{batch_id}"


def idempotency_key(digest: str) -> str:
    """Return the key of what an Idempotency-Key stands for."""
    return f"{PREFIX}idempotency:{digest}"


def answer_key(digest: str) -> str:
    """Return the key of the job that has the answer to an order."""
    return f"{PREFIX}answer:{digest}"
