"""Whether an order may come in: what can be told before its body is read, and what its image tells after that."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from redis.client import Pipeline

from app.documents import seconds_until_shorter
from app.errors import ProblemError, field_problem
from app.guard.callers import Caller, SubmitterDep
from app.guard.settings import GuardSettings
from app.idempotency import scope_of
from app.services import Services, ServicesDep
from models.images import ImageFacts
from workers.orders import Order

ATTACKS_OFF = "attacks-off"
"""Code of the problem that tells that attacks are off."""


async def _admit(request: Request, caller: SubmitterDep, services: ServicesDep) -> AsyncIterator[Caller]:
    """Refuse an order that cannot be taken whatever it holds, before its body is read. One refused takes no room."""
    async with _room_for(services, declared(request) or 0):
        await run_sync(_check_bounds, services, caller, scope_of(request, caller.id))
        yield caller


AdmittedDep = Annotated[Caller, Depends(_admit)]


def declared(request: Request) -> int | None:
    """Return how long the request's body is; None: that shows when it has come."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() else None


@asynccontextmanager
async def room_for_undeclared(request: Request, services: Services, images: Sequence[bytes]) -> AsyncIterator[None]:
    """Count images as kept whose request did not say how long it is. Raises ProblemError (507)."""
    if declared(request) is not None:
        yield
        return
    async with _room_for(services, sum(map(len, images))):
        yield


@asynccontextmanager
async def _room_for(services: Services, count: int) -> AsyncIterator[None]:
    """Count so many bytes as kept, unless what is done inside is refused. Raises ProblemError (507)."""
    measured = await run_sync(services.room.check, count)
    try:
        yield
    except BaseException:
        services.room.give_back(count, measured)
        raise


def _check_bounds(services: Services, caller: Caller, key: tuple[str, ...] | None) -> None:
    if key and services.queue.claims.stands(key):
        return  # what was accepted already takes no further place
    settings = services.settings
    if services.queue.depth() >= settings.max_queued:
        raise ProblemError(
            503, "queue-full", f"{settings.max_queued} jobs are already waiting; nothing was accepted, retry later.",
            headers={"Retry-After": str(seconds_until_shorter(services))},
        )  # fmt: skip
    if caller.id and not services.queue.quota.has_place(caller.id, settings.max_in_flight):
        raise _too_many(services)


def attacks_are_on(services: ServicesDep) -> None:
    """Refuse whatever has to do with attacks unless the operator wants them: nobody offers them by accident."""
    if not services.settings.attacks:
        raise ProblemError(
            403, ATTACKS_OFF, "Attacks are turned off here; the operator can enable them with PURIFIQA_ATTACKS=true."
        )


def check_places(services: Services, owner: str, images: int) -> None:
    """Raise a 422 problem for more images than `owner` may ever have jobs at a time: to wait would not help."""
    most = services.settings.max_in_flight
    if owner and images > most:
        raise field_problem(
            422, "image", "too-many", f"at most {most} images per request: a key may have no more unfinished jobs",
            limit=most, actual=images,
        )  # fmt: skip


@contextmanager
def place_for(services: Services, owner: str, job_id: str) -> Iterator[None]:
    """Count a job of `owner` while it is submitted, and until it ends if that succeeds. Raises ProblemError (429)."""
    if owner and not services.queue.quota.take_place(owner, services.settings.max_in_flight, job_id):
        raise _too_many(services)
    try:
        yield
    except BaseException:
        if owner:
            services.queue.quota.give_place_back(owner, job_id)
        raise


def _too_many(services: Services) -> ProblemError:
    most = services.settings.max_in_flight
    return ProblemError(
        429, "too-many-jobs", f"This key already has {most} unfinished jobs, its limit; wait, or cancel some.",
        headers={"Retry-After": str(seconds_until_shorter(services))},
    )  # fmt: skip


def count_images(services: Services, owner: str, images: int, pipe: Pipeline) -> None:
    """Take what a batch costs from the rate of its owner's key: an order for each image beside the request's own.

    Its images have been received, so it is not refused for that: the key's next order waits. It costs that as part of
    the transaction that accepts it: what is not accepted costs nothing, however often it is tried.
    """
    if owner and images > 1:
        settings = services.settings
        services.queue.quota.owe_turns(owner, settings.rate, settings.burst, images - 1, pipe)


def check_work(order: Order, image: ImageFacts, settings: GuardSettings) -> None:
    """Raise a 422 problem if an order is too much for an image of this size.

    It may make the image larger than any that is accepted, be more work, or keep more of it in memory at once.
    """
    size = (image.height, image.width)
    if (largest := order.largest(size)) > max(settings.max_pixels, size[0] * size[1]):
        raise field_problem(
            422, "defense", "result-too-large",
            f"the defense would make an image of {largest} pixels, but at most {settings.max_pixels} are allowed; "
            "choose a smaller outscale or image",
            limit=settings.max_pixels, actual=largest,
        )  # fmt: skip
    for code, pixels, most, whole, less in (
        ("too-much-work", order.work(size), settings.max_work, "is", "fewer steps, queries or samples"),
        ("too-much-memory", order.held(size), settings.max_held, "keeps the gradient of", "fewer steps of a sampler"),
    ):
        actual = float(f"{pixels / 1e6:.4g}")
        if actual > most:
            raise field_problem(
                422, order.subject, code,
                f"this order {whole} {actual:g} megapixel evaluations of a small network, but at most {most:g} are "
                f"allowed; choose {less}, a cheaper defense or a smaller image",
                limit=most, actual=actual,
            )  # fmt: skip
