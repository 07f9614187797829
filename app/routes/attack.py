"""`POST /attack`: an image in, one that misleads a metric out. For studies; off unless the operator turns it on."""

from fastapi import APIRouter, Depends, Request, Response

from app.documentation import IMAGES, accepted, form_body, problems
from app.guard.admission import AdmittedDep, attacks_are_on
from app.guard.callers import submitter
from app.negotiation import accepted_form
from app.orders import make_attack_order
from app.schemas import AttackForm, BatchDocument, JobDocument
from app.services import ServicesDep
from app.submission import submit
from app.uploads import read_form
from models.images import ImageFormat

router = APIRouter(tags=["attack"])

PNG = {ImageFormat.PNG.media_type: IMAGES[ImageFormat.PNG.media_type]}


@router.post(
    "/attack",
    operation_id="attack",
    summary="Attack an image to mislead a metric",
    status_code=202,
    response_model=JobDocument | BatchDocument,
    responses={**accepted(PNG), **problems(400, 403, 406, 409, 413, 415, 422, 503, 507)},
    openapi_extra=form_body(AttackForm),
    dependencies=[Depends(submitter), Depends(attacks_are_on)],
)
async def attack(request: Request, caller: AdmittedDep, services: ServicesDep) -> Response:
    """Works like `POST /purify`, and returns the attacked image as a PNG, which keeps every pixel value. The scores
    before and after, and how far the attack went, are in `result.attack`. 403 `attacks-off` if attacks are not enabled.
    """
    images, form = await read_form(request, AttackForm, services.settings)
    answer_form = accepted_form(request, ImageFormat.PNG)
    return await submit(
        request, services, caller, images, form, lambda image: make_attack_order(form, image), answer_form
    )
