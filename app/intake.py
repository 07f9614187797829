"""Taking orders: an image into the store, its record and its job into Redis, once per idempotency key."""

import contextlib
import functools
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import anyio
from anyio.to_thread import run_sync

from app import idempotency
from app.documents import batch_records
from app.guard.admission import check_places, count_images, place_for
from app.services import Services
from models.images import ImageFacts
from workers.orders import AnyOrder
from workers.state.answers import is_repeatable
from workers.state.batches import Batch, BatchItem
from workers.state.broker import BROKER_ERRORS
from workers.state.claims import Claim, ClaimLostError, Earlier
from workers.state.manifest import ROLE as MANIFEST
from workers.state.manifest import close_manifest, open_manifest
from workers.state.record import Failure, JobRecord, Origin, Status

CLAIM_WAIT_SECONDS = 10
"""How long to wait for the answer to an earlier request with the same key."""

HOLD_SECONDS = 10
"""How often whoever writes many images says so: all that would be taken for lost lasts longer than this."""


@dataclass(frozen=True)
class Draft:
    """An image that can be worked on, and what to do with it."""

    data: bytes
    image: ImageFacts
    order: AnyOrder


@dataclass(frozen=True)
class Manner:
    """How a request's orders are to be taken."""

    origin: Origin
    seeded: bool
    """The sender chose the seed, so an earlier answer is the same as a new one."""
    fresh: bool
    """The sender wants it computed anew (`Cache-Control: no-cache`)."""
    key: tuple[str, ...] | None = None
    """The idempotency key and its scope."""
    fingerprint: str = ""


@dataclass(frozen=True)
class Accepted:
    """What was accepted: one job, or a batch."""

    records: list[JobRecord]
    batch: Batch | None = None
    replayed: bool = False
    """An earlier request with the same idempotency key was accepted, and this is what became of it."""


async def take(services: Services, draft: Draft, manner: Manner) -> Accepted:
    """Keep the image, write the record and queue the job: after this it will be done.

    Raises ProblemError if it is too much work or its owner has too many jobs; BROKER_ERRORS, OSError.
    """
    job_id = uuid.uuid4().hex

    def keep(claim: Claim | None) -> Accepted:
        kept = {"idempotency": claim.name, "fingerprint": claim.fingerprint} if claim else {}
        origin = manner.origin.model_copy(update=kept)
        return Accepted(_keep(services, {job_id: draft}, manner, origin, claim, None))

    def find(place: str) -> Accepted:
        return Accepted([services.queue.ledger.get(place)], replayed=True)

    return await _once(services, manner, job_id, keep, find)


async def take_all(services: Services, drafts: Sequence[Draft | Failure], manner: Manner) -> Accepted:
    """Take several images at once, all that can be worked on or none. Raises as `take` does."""
    batch_id = uuid.uuid4().hex
    ids = [uuid.uuid4().hex for _ in drafts]

    def keep(claim: Claim | None) -> Accepted:
        good = {job_id: draft for job_id, draft in zip(ids, drafts, strict=True) if isinstance(draft, Draft)}
        items = tuple(
            BatchItem(refusal=draft) if isinstance(draft, Failure) else BatchItem(job_id=job_id)
            for job_id, draft in zip(ids, drafts, strict=True)
        )
        batch = Batch(
            id=batch_id, kind=next(iter(good.values())).order.kind, owner=manner.origin.owner, created=time.time(),
            idempotency=claim.name if claim else "", fingerprint=claim.fingerprint if claim else "", items=items,
        )  # fmt: skip
        origin = manner.origin.model_copy(update={"batch": batch_id})
        return Accepted(_keep(services, good, manner, origin, claim, batch), batch)

    def find(place: str) -> Accepted:
        batch = services.queue.batches.get(place)
        return Accepted([record for record in batch_records(services, batch) if record], batch, replayed=True)

    return await _once(services, manner, batch_id, keep, find)


async def _once(
    services: Services,
    manner: Manner,
    place: str,
    keep: Callable[[Claim | None], Accepted],
    find: Callable[[str], Accepted],
) -> Accepted:
    """Do `keep`, or `find` what an earlier request with the same key has kept. Raises ProblemError."""
    if manner.key is None:
        return await run_sync(keep, None)
    deadline, claims = anyio.current_time() + CLAIM_WAIT_SECONDS, services.queue.claims
    while True:
        taken = await run_sync(claims.take, manner.key, manner.fingerprint, place)
        if not isinstance(taken, Earlier):
            try:
                return await run_sync(keep, taken)
            except ClaimLostError:
                continue
        if taken.fingerprint != manner.fingerprint:
            raise idempotency.reused()
        if taken.kept and (found := await run_sync(_found, services, taken, find)):
            return found
        if anyio.current_time() > deadline:
            raise idempotency.in_use()
        await anyio.sleep(0.05)


def _found(services: Services, earlier: Earlier, find: Callable[[str], Accepted]) -> Accepted | None:
    try:
        return find(earlier.place)
    except LookupError:  # erased, or kept as long as promised: the key is free again
        services.queue.claims.forget(earlier)
        return None


def _keep(
    services: Services, drafts: dict[str, Draft], manner: Manner, origin: Origin, claim: Claim | None,
    batch: Batch | None,
) -> list[JobRecord]:  # fmt: skip
    with contextlib.ExitStack() as places:
        try:
            check_places(services, origin.owner, len(drafts))
            services.queue.broker.ping()  # without a broker nothing is written
            for job_id in drafts:
                places.enter_context(place_for(services, origin.owner, job_id))
            records = _all_stored(services, drafts, manner, origin, claim, batch)
            cost = functools.partial(count_images, services, origin.owner, len(records))
            services.queue.submit_all(records, claim, batch, cost)
        except BaseException:
            with contextlib.suppress(*BROKER_ERRORS):
                _give_up(services, drafts, claim)
            raise
    return records


def _give_up(services: Services, drafts: Collection[str], claim: Claim | None) -> None:
    """Take everything back, unless it was accepted and only the answer was lost; if nobody knows, a sweep will."""
    for job_id in drafts:  # all of them first: nobody was told that it was accepted, so that it must not be restored
        services.store.drop(job_id, MANIFEST)
    for job_id in drafts:
        if not services.queue.ledger.exists(job_id):
            services.store.erase(job_id)
    if claim:
        services.queue.claims.release(claim)


def _all_stored(
    services: Services, drafts: dict[str, Draft], manner: Manner, origin: Origin, claim: Claim | None,
    batch: Batch | None,
) -> list[JobRecord]:  # fmt: skip
    records: list[JobRecord] = []
    held = time.monotonic()
    for job_id, draft in drafts.items():
        if time.monotonic() - held > HOLD_SECONDS:
            _hold(services, origin.owner, drafts, claim)
            held = time.monotonic()
        records.append(_stored(services, job_id, draft, manner, origin, batch))
    return records


def _hold(services: Services, owner: str, drafts: Collection[str], claim: Claim | None) -> None:
    """Let nobody take for lost what is still being written: the key, the places, the files so far."""
    if claim:
        services.queue.claims.renew(claim)
    if owner:
        services.queue.quota.keep_places(owner, drafts)
    for job_id in drafts:
        services.store.touch(job_id)


def _stored(
    services: Services, job_id: str, draft: Draft, manner: Manner, origin: Origin, batch: Batch | None
) -> JobRecord:
    record = JobRecord(id=job_id, order=draft.order, image=draft.image, origin=origin, created=time.time())
    may_reuse = services.settings.reuse_results and not manner.fresh
    if may_reuse and is_repeatable(draft.order, seeded=manner.seeded) and (done := _from_store(services, record)):
        open_manifest(services.store, done, batch)
        close_manifest(services.store, done)
        return done
    services.store.put(job_id, "input", draft.data, durable=True)
    open_manifest(services.store, record, batch)
    return record


def _from_store(services: Services, record: JobRecord) -> JobRecord | None:
    """Return the record finished with the answer to an identical order; None if there is none or it is damaged."""
    owner, answers = record.origin.owner, services.queue.answers
    found = answers.find(owner, record.order, record.image.sha256)
    [old] = services.queue.ledger.get_all([found]) if found else [None]
    if old is None or old.status is not Status.FINISHED or old.report is None or old.origin.owner != owner:
        return None
    image = old.report.image
    if image and not services.store.share(old.id, "output", record.id, image.sha256):
        return None
    now = time.time()
    timings = {"queued": 0.0, "total": round((now - record.created) * 1000, 3)}
    report = old.report.model_copy(update={"timings_ms": timings})
    update = {"status": Status.FINISHED, "progress": 1.0, "started": record.created, "ended": now, "report": report}
    return record.model_copy(update=update)
