"""`POST /score`: an image in, quality scores that an attack cannot easily cheat out."""

from fastapi import APIRouter, Request, Response

from app.documentation import accepted, form_body, problems
from app.guard.admission import AdmittedDep
from app.orders import make_order
from app.schemas import BatchDocument, JobDocument, ScoreForm
from app.services import ServicesDep
from app.submission import submit
from app.uploads import read_form

router = APIRouter(tags=["purify and score"])


@router.post(
    "/score",
    operation_id="score",
    summary="Score an image before and after a defense",
    status_code=202,
    response_model=JobDocument | BatchDocument,
    responses={**accepted(), **problems(400, 409, 413, 415, 422, 503, 507)},
    openapi_extra=form_body(ScoreForm),
)
async def score(request: Request, caller: AdmittedDep, services: ServicesDep) -> Response:
    """Scores the original image and the defended one. With a random defense and `samples` above 1, the defended score
    is the median over that many independently seeded purifications. Answers like `POST /purify`.
    """
    images, form = await read_form(request, ScoreForm, services.settings)
    return await submit(
        request, services, caller, images, form, lambda image: make_order(form, image, services.settings)
    )
