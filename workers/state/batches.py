"""Several images of one request: a batch is a list of jobs and of items that were refused, each with its own fate."""

import time
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from redis import Redis
from redis.client import Pipeline

from workers.orders import Kind
from workers.state.claims import Claims
from workers.state.keys import batch_key, job_keys
from workers.state.ledger import EXPIRED_NOTE_TTL, JobExpiredError, JobUnknownError
from workers.state.record import Failure


class BatchItem(BaseModel):
    """One image of a batch: a job, or why it is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str | None = None
    refusal: Failure | None = None


class Batch(BaseModel):
    """What was sent in one request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: Kind
    owner: str = ""
    created: float
    idempotency: str = Field("", description="The key in Redis of its Idempotency-Key; empty: none.")
    fingerprint: str = Field("", description="Digest of the request that the key came with.")
    items: tuple[BatchItem, ...]

    @property
    def job_ids(self) -> list[str]:
        """The jobs, without the items that were refused."""
        return [item.job_id for item in self.items if item.job_id]


class Batches:
    """Write, read and remove batches."""

    def __init__(self, redis: Redis, claims: Claims, life: int) -> None:
        """`life`: the most seconds that a job can last."""
        self._redis, self._claims, self._life = redis, claims, life

    def write(self, batch: Batch, pipe: Pipeline) -> None:
        """Write a new batch as part of a transaction. It lasts as long as the last of its jobs can."""
        pipe.set(batch_key(batch.id), batch.model_dump_json(), ex=self._life)
        pipe.set(_note(batch.id), batch.owner, ex=self._life + EXPIRED_NOTE_TTL)

    def restore(self, batch: Batch, pipe: Pipeline) -> None:
        """Write a batch that Redis has lost, unless it is there, as part of a transaction."""
        left = self._life - int(time.time() - batch.created)
        if left > 0:
            pipe.set(batch_key(batch.id), batch.model_dump_json(), ex=left, nx=True)
            pipe.set(_note(batch.id), batch.owner, ex=left + EXPIRED_NOTE_TTL)

    def get(self, batch_id: str) -> Batch:
        """Return a batch. Raises JobUnknownError, JobExpiredError, BROKER_ERRORS."""
        found: Any = self._redis.get(batch_key(batch_id))
        if found is None:
            owner: Any = self._redis.get(_note(batch_id))
            raise JobUnknownError(batch_id) if owner is None else JobExpiredError(batch_id, owner.decode())
        return Batch.model_validate_json(found)

    def remove(self, batch: Batch) -> None:
        """Remove every key of the batch; its jobs are removed by their own ids."""
        self._redis.delete(batch_key(batch.id), _note(batch.id))
        if batch.idempotency:
            self._claims.free(batch.idempotency, batch.id)


def _note(batch_id: str) -> str:
    return job_keys(f"batch-{batch_id}").expired
