"""The record of a job: the one authority about what it is, what became of it, and what to tell whoever asks."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.images import ImageFacts
from workers.orders import AnyOrder
from workers.reports import Report

MOST_SETBACKS = 2
"""Tries without an answer after which a job is not tried again."""


class Status(StrEnum):
    """The states of a job. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in (Status.FINISHED, Status.FAILED, Status.CANCELED)


class Failure(BaseModel):
    """Why a job failed, fit for the person who sent it: no paths, no tracebacks."""

    code: str
    detail: str
    status: int = 500


TIME_LIMIT = Failure(code="time-limit", detail="The job exceeded its time limit.")


class Origin(BaseModel):
    """Where an order came from: never part of what it is, so that it cannot change the answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str = Field("", description="Id of the API key that it came with; empty: keys are off.")
    request_id: str = Field("", description="Of the HTTP request, for the logs of every process.")
    traceparent: str = Field("", description="W3C trace context, empty: none.")
    webhook: str = Field("", description="URL to tell when the job ends; empty: none.")
    batch: str = Field("", description="Id of the batch that it is an item of; empty: none.")
    idempotency: str = Field("", description="The key in Redis of its Idempotency-Key; empty: none.")
    fingerprint: str = Field("", description="Digest of the request that the key came with.")


class Delivery(BaseModel):
    """What became of a webhook so far. Times are seconds since the epoch."""

    model_config = ConfigDict(frozen=True)

    state: Literal["pending", "delivered", "refused", "failed"] = Field(
        description="refused: the receiver answered 410; failed: given up after the last attempt."
    )
    attempts: int = Field(0, description="Number of delivery attempts so far.")
    last_status: int | None = Field(None, description="HTTP status of the last answer; null: no answer.")
    detail: str = Field("", description="What went wrong at the last attempt.")
    last_attempt: float | None = Field(None, description="Time of the last attempt.")
    next_attempt: float | None = Field(None, description="Time of the next attempt; null: there will be none.")


class JobRecord(BaseModel):
    """A job as it stands. Times are seconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    status: Status = Status.QUEUED
    progress: float = Field(0.0, ge=0, le=1)
    order: AnyOrder
    image: ImageFacts
    origin: Origin = Origin()
    created: float
    started: float | None = None
    seen: float | None = Field(None, description="When its worker last renewed the lease, give or take a second.")
    ended: float | None = None
    report: Report | None = None
    failure: Failure | None = None
    placement: int = Field(1, ge=1, description="How often it has been put into the queue; earlier entries are void.")
    setbacks: int = Field(0, ge=0, description="Tries that ended without an answer: worker lost, unexpected error.")
    delivery: Delivery | None = None

    def fixed(self) -> dict[str, Any]:
        """Return the part that never changes, ready for JSON."""
        return self.model_dump(mode="json", include={"id", "order", "image", "origin", "created"})
