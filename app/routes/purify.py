"""`POST /purify`: an image in, the purified image and the scores before and after out."""

from fastapi import APIRouter, Request, Response

from app.documentation import IMAGES, accepted, form_body, problems
from app.guard.admission import AdmittedDep
from app.negotiation import accepted_form
from app.orders import make_order
from app.schemas import BatchDocument, JobDocument, PurifyForm
from app.services import ServicesDep
from app.submission import submit
from app.uploads import read_form
from models.images import ImageFormat

router = APIRouter(tags=["purify and score"])


@router.post(
    "/purify",
    operation_id="purify",
    summary="Purify an image with a chosen defense",
    status_code=202,
    response_model=JobDocument | BatchDocument,
    responses={**accepted(IMAGES), **problems(400, 406, 409, 413, 415, 422, 503, 507)},
    openapi_extra=form_body(PurifyForm),
)
async def purify(request: Request, caller: AdmittedDep, services: ServicesDep) -> Response:
    """Returns 202 and a job to follow. With `Prefer: wait=N`, returns 200 if the job finishes within N seconds: the job
    document, or the purified image itself if `Accept` names an image type. Several parts named `image` make a batch:
    the answer is a batch document, in which each image succeeds or fails on its own.
    """
    images, form = await read_form(request, PurifyForm, services.settings)
    answer_form = accepted_form(request, form.format)
    file_form = form.format or answer_form or ImageFormat.PNG
    return await submit(
        request, services, caller, images, form,
        lambda image: make_order(form, image, services.settings, file_form), answer_form,
    )  # fmt: skip
