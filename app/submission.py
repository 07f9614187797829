"""What all orders share: from a form to an answer, for one image or several."""

from collections.abc import Callable

from anyio.to_thread import run_sync
from fastapi import Request, Response

from app.answering import answer
from app.body_limit import let_go
from app.errors import FieldError, ProblemError, field_problem, image_problem
from app.guard.admission import check_work, room_for_undeclared
from app.guard.callers import Caller
from app.idempotency import fingerprint, scope_of
from app.intake import Accepted, Draft, Manner, take, take_all
from app.request_context import traced
from app.schemas import OrderForm
from app.services import Services
from app.uploads import check_image
from app.webhooks.targets import chosen_webhook
from models.images import ImageError, ImageFacts, ImageFormat
from workers.orders import AnyOrder
from workers.state.record import Failure, Origin

ANEW = {"no-cache", "no-store"}


async def submit(
    request: Request,
    services: Services,
    caller: Caller,
    images: list[bytes],
    form: OrderForm,
    order_for: Callable[[ImageFacts], AnyOrder],
    answer_form: ImageFormat | None = None,
) -> Response:
    """Take the orders of a request and answer it; `images` is empty then. `order_for` makes the order of one image.

    Raises ProblemError.
    """
    manner = await _manner(request, services, caller, images, form, answer_form)
    accepted: Accepted
    async with room_for_undeclared(request, services, images):
        if len(images) == 1:
            image = await check_image(services, images[0])
            accepted = await take(services, _draft(services, images[0], image, order_for), manner)
        elif answer_form is not None:
            raise ProblemError(406, "not-acceptable", "A batch can only be answered as application/json.")
        else:
            accepted = await take_all(services, await _drafts(services, images, order_for), manner)
    images.clear()  # they are in the store: whoever waits now for the answer holds nothing
    let_go(request)
    return await answer(request, services, accepted, answer_form)


async def _manner(
    request: Request,
    services: Services,
    caller: Caller,
    images: list[bytes],
    form: OrderForm,
    answer_form: ImageFormat | None,
) -> Manner:
    key = scope_of(request, caller.id)
    webhook = chosen_webhook(form.webhook, services.settings) if form.webhook else ""
    cached = {one.strip().lower() for one in ",".join(request.headers.getlist("cache-control")).split(",")}
    return Manner(
        origin=traced(Origin(owner=caller.id, webhook=webhook)),
        seeded=form.seed is not None,
        fresh=bool(cached & ANEW),
        key=key,
        fingerprint=await run_sync(fingerprint, form, images, answer_form) if key else "",
    )


def _draft(services: Services, data: bytes, image: ImageFacts, order_for: Callable[[ImageFacts], AnyOrder]) -> Draft:
    order = order_for(image)
    check_work(order, image, services.settings)
    return Draft(data, image, order)


async def _drafts(
    services: Services, images: list[bytes], order_for: Callable[[ImageFacts], AnyOrder]
) -> list[Draft | Failure]:
    """Return what to do with each image, or why nothing can be done with it; what is wrong with all is raised."""
    drafts: list[Draft | Failure] = []
    wrong: list[FieldError] = []
    pixels, most = 0, services.settings.max_batch_pixels
    for index, data in enumerate(images):
        try:
            image = await check_image(services, data)
            pixels += image.width * image.height
            if pixels > most:
                raise field_problem(
                    413, "image", "too-many-pixels", f"the images together have more than {most} pixels",
                    limit=most, actual=pixels,
                )  # fmt: skip
            drafts.append(_draft(services, data, image, order_for))
        except (ImageError, ProblemError) as error:
            problem = image_problem(error) if isinstance(error, ImageError) else error
            if problem.is_about_the_order or pixels > most:
                raise problem from error
            drafts.append(Failure(code=problem.code, detail=problem.detail, status=problem.status))
            first = (problem.errors or [FieldError(field="image", code=problem.code, detail=problem.detail)])[0]
            wrong.append(first.model_copy(update={"field": f"image.{index}"}))
    if len(wrong) == len(images):
        detail = "; ".join(f"{one.field}: {one.detail}" for one in wrong[:5])
        raise ProblemError(422, "no-good-image", f"None of the images can be accepted: {detail}", errors=wrong)
    return drafts
