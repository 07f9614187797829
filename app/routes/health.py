"""`/livez`, `/readyz` and `/metrics`: for whatever watches over the service."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from app.documentation import problems
from app.errors import FieldError, ProblemError
from app.guard.callers import metrics_reader
from app.readiness import Check, defaults, look
from app.services import ServicesDep
from app.telemetry import exposition

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


class Readiness(Health):
    """Jobs can be accepted and will run."""

    checks: list[Check] | None = Field(None, description="Every check; only with `?verbose`.")


@router.get("/livez", operation_id="livez", summary="Liveness")
async def livez() -> Health:
    """200 while the event loop runs. It depends on nothing else."""
    return Health()


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Readiness",
    responses=problems(503),
    response_model_exclude_none=True,
)
def readyz(
    request: Request,
    services: ServicesDep,
    verbose: Annotated[str | None, Query(description="With any value: return every check.")] = None,
) -> Readiness:
    """200 if Redis answers, the store is writable and has room, enough workers are ready and not stuck, and this
    process is not shutting down. Otherwise 503, naming the checks that failed.
    """
    checks = look(services, draining=request.app.state.draining)
    wrong = [FieldError(field=one.name, code=one.code, detail=one.detail) for one in checks if not one.ok]
    if wrong:
        detail = "; ".join(f"{one.field}: {one.detail}" for one in wrong)
        raise ProblemError(503, "not-ready", detail, errors=wrong, headers={"Retry-After": "2"})
    return Readiness(checks=None if verbose is None else [*checks, *defaults(services)])


@router.get(
    "/metrics",
    operation_id="prometheus",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    dependencies=[Depends(metrics_reader)],
)
def prometheus(request: Request) -> Response:
    """In the text exposition format. The image-quality metrics are at `/iqa-metrics`."""
    body, media_type = exposition(request.app)
    return Response(body, media_type=media_type)
