"""`/livez`, `/readyz` and `/metrics`: for whatever watches over the service."""

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from app.documentation import problems
from app.errors import FieldError, ProblemError
from app.guard.callers import metrics_reader
from app.services import Services, ServicesDep
from app.telemetry import exposition
from workers.ledger import BROKER_ERRORS

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """All is well."""

    status: str = "ok"


@router.get("/livez", operation_id="livez", summary="The process answers")
async def livez() -> Health:
    """200 while the event loop runs; depends on nothing else."""
    return Health()


@router.get("/readyz", operation_id="readyz", summary="Jobs can be accepted and will be done", responses=problems(503))
def readyz(services: ServicesDep) -> Health:
    """200 if Redis answers, the store can be written and a worker is alive and warm; else 503, naming what is not."""
    wrong = list(_wrong(services))
    if wrong:
        detail = "; ".join(f"{one.field}: {one.detail}" for one in wrong)
        raise ProblemError(503, "not-ready", detail, errors=wrong, headers={"Retry-After": "2"})
    return Health()


def _wrong(services: Services) -> list[FieldError]:
    wrong = []
    if not services.store.is_writable():
        wrong.append(FieldError(field="store", code="not-writable", detail="the data folder cannot be written"))
    try:
        services.queue.ping()
        if not services.queue.workers():
            wrong.append(FieldError(field="workers", code="none", detail="no worker is alive and ready"))
    except BROKER_ERRORS:
        wrong.append(FieldError(field="redis", code="unreachable", detail="Redis does not answer"))
    return wrong


@router.get(
    "/metrics",
    operation_id="prometheus",
    summary="Prometheus metrics",
    response_class=Response,
    dependencies=[Depends(metrics_reader)],
)
def prometheus(request: Request) -> Response:
    """Text exposition; the quality metrics are at `/iqa-metrics`."""
    body, media_type = exposition(request.app)
    return Response(body, media_type=media_type)


@router.get("/", include_in_schema=False)
def root() -> RedirectResponse:
    """Send a person to the documentation page."""
    return RedirectResponse("/docs")
