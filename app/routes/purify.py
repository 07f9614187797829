"""`POST /purify`: an image in, the purified image and the scores before and after out."""

from fastapi import APIRouter, Request, Response

from app.documentation import IMAGES, accepted, form_body, problems
from app.guard.admission import AdmittedDep
from app.intake import answer, take
from app.negotiation import accepted_form
from app.orders import make_order
from app.schemas import JobDocument, PurifyForm
from app.services import ServicesDep
from app.uploads import check_image, read_form
from models.images import ImageFormat
from workers.record import Origin

router = APIRouter(tags=["purify and score"])


@router.post(
    "/purify",
    operation_id="purify",
    summary="Purify an image with a chosen defense",
    status_code=202,
    response_model=JobDocument,
    responses={**accepted(IMAGES), **problems(400, 406, 409, 413, 415, 422, 503, 507)},
    openapi_extra=form_body(PurifyForm),
)
async def purify(request: Request, caller: AdmittedDep, services: ServicesDep) -> Response:
    """Answer 202 with a job to follow. With `Prefer: wait=N`, answer 200 when it is done within N seconds: with the
    job document, or with the purified image itself if `Accept` names an image type.
    """
    data, form = await read_form(request, PurifyForm, services.settings.max_bytes)
    answer_form = accepted_form(request, form.format)
    image = await check_image(services, data)
    order = make_order(form, image, services.settings, form.format or answer_form or ImageFormat.PNG)
    record = await take(services, order, data, image, Origin(owner=caller.id))
    return await answer(request, services, record, answer_form)
