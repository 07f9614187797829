"""Who asks, and whose a job is. Every route says with one annotation what it needs:

caller: SubmitterDep     a key that may send orders, within its rate
caller: ReaderDep        a key that may read; `dependencies=[Depends(reader)]` where nobody needs to know whose
record: OwnedJob         the job of `job_id`, of this caller; anybody else's is unknown
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, NamedTuple

from anyio.to_thread import run_sync
from fastapi import Depends, Path, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from app.errors import ProblemError
from app.guard.keys import KeyRing, Scope
from app.services import Services, ServicesDep
from workers.state.batches import Batch
from workers.state.ledger import JobExpiredError, JobUnknownError
from workers.state.record import JobRecord

SHARE_OF_AN_ORDER = 0.05
"""What a call that is no order takes from a key's rate."""

_BEARER = HTTPBearer(scheme_name="bearer", auto_error=False, description="An API key: `Authorization: Bearer KEY`.")
_HEADER = APIKeyHeader(
    name="X-API-Key",
    scheme_name="header",
    auto_error=False,
    description="The same API key, for when `Authorization` is used by something else.",
)
_ASK = {"WWW-Authenticate": 'Bearer realm="purifiqa"'}


class Caller(NamedTuple):
    """Who asks: the id of an API key, or nobody in particular where keys are off."""

    id: str
    sees_all: bool

    def owns(self, owner: str) -> bool:
        """Return whether this caller may know of a job of `owner`."""
        return self.sees_all or self.id == owner


NOBODY = Caller("", sees_all=True)


def asks(scope: Scope, cost: float) -> Callable[..., Awaitable[Caller]]:
    """Return the dependency that asks for a key with this scope, and takes `cost` orders from its rate."""

    async def identify(
        request: Request,
        services: ServicesDep,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
        header: Annotated[str | None, Security(_HEADER)],
    ) -> Caller:
        if services.keys is None:
            return NOBODY
        caller = _identify(services.keys, bearer.credentials if bearer else header, scope)
        request.state.owner = caller.id  # for the access log
        if cost:
            await run_sync(_take_turn, services, caller, cost)
        return caller

    return identify


def _identify(keys: KeyRing, key: str | None, scope: Scope) -> Caller:
    if not key:
        raise ProblemError(401, "key-missing", "Send an API key: `Authorization: Bearer KEY`.", headers=_ASK)
    stored = keys.find(key)
    if stored is None:
        headers = {"WWW-Authenticate": f'{_ASK["WWW-Authenticate"]}, error="invalid_token"'}
        raise ProblemError(401, "key-unknown", "There is no such API key, or it has been revoked.", headers=headers)
    if not stored.allows(scope):
        raise ProblemError(403, "scope-missing", f"This needs a key with the scope {scope}.")
    return Caller(stored.id, Scope.ADMIN in stored.scopes)


def _take_turn(services: Services, caller: Caller, cost: float) -> None:
    settings = services.settings
    seconds = services.queue.quota.take_turn(caller.id, settings.rate, settings.burst, cost)
    if seconds:
        raise ProblemError(
            429, "rate-exceeded", f"This key may send {settings.rate:g} orders per second, {settings.burst} at once.",
            headers={"Retry-After": str(seconds)},
        )  # fmt: skip


submitter = asks(Scope.SUBMIT, 1)
reader = asks(Scope.READ, SHARE_OF_AN_ORDER)
metrics_reader = asks(Scope.METRICS, 0)  # turns are counted in Redis, and whoever watches must hear that it is away
SubmitterDep = Annotated[Caller, Depends(submitter)]
ReaderDep = Annotated[Caller, Depends(reader)]

JobId = Annotated[str, Path(description="Job id, from the answer to an order.")]


def owned(services: Services, caller: Caller, job_id: str) -> JobRecord:
    """Return the record of a job of this caller's.

    Raises JobUnknownError also for anybody else's, before anything else is looked at; JobExpiredError, BROKER_ERRORS.
    """
    with _no_oracle(caller):
        record = services.queue.ledger.get(job_id)
    if not caller.owns(record.origin.owner):
        raise JobUnknownError(job_id)
    return record


def owned_batch(services: Services, caller: Caller, batch_id: str) -> Batch:
    """Return a batch of this caller's. Raises as `owned` does."""
    with _no_oracle(caller):
        batch = services.queue.batches.get(batch_id)
    if not caller.owns(batch.owner):
        raise JobUnknownError(batch_id)
    return batch


@contextmanager
def _no_oracle(caller: Caller) -> Iterator[None]:
    """Let nobody learn that there was something of somebody else's."""
    try:
        yield
    except JobExpiredError as error:
        if caller.owns(error.owner):
            raise
        raise JobUnknownError(*error.args) from error


def _owned_job(job_id: JobId, caller: ReaderDep, services: ServicesDep) -> JobRecord:
    return owned(services, caller, job_id)


OwnedJob = Annotated[JobRecord, Depends(_owned_job)]
