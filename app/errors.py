"""Every error as an RFC 9457 problem: what is wrong, which field, which limit, and the closest right value."""

import difflib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from app.decoding.pool import DecoderBusyError
from app.request_context import HEADER, request_id
from models.images import ImageError
from workers.state.broker import BROKER_ERRORS
from workers.state.ledger import JobExpiredError, JobUnknownError, JobUnreadableError
from workers.state.store import StoreFullError

log = logging.getLogger("purifiqa.api")

MEDIA_TYPE = "application/problem+json"
BROKER_RETRY_SECONDS = 5
BUSY_RETRY_SECONDS = 10
TOO_BUSY_RETRY_SECONDS = 5
MAX_FIELD_ERRORS = 20
_IMAGE_STATUS = {"unsupported-image": 415, "animated-image": 415, "image-too-large": 413}
_PLAIN = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_ALSO_ABOUT_THE_IMAGE = ("image-size-unsuitable", "result-too-large", "too-much-work", "too-much-memory")
_BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length", "expected")


class FieldError(BaseModel):
    """One wrong field."""

    field: str = Field(description="Path of the field: `image`, `defense.quality`, `seed`, ...")
    code: str = Field(description="Stable identifier of the error.")
    detail: str = Field(description="What is wrong, in words.")
    limit: int | float | str | None = Field(None, description="The limit that was violated.")
    actual: int | float | str | None = Field(None, description="The value that was found, if it is short.")
    suggestion: str | None = Field(None, description="The closest valid name.")


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    type: str = Field(description="The kind of problem: `urn:purifiqa:problem:<code>`.")
    title: str = Field(description="The kind of problem, in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened, in words.")
    code: str = Field(description="The kind of problem, as a stable identifier.")
    instance: str | None = Field(None, description="The path of the request.")
    errors: list[FieldError] | None = Field(None, description="One entry per invalid field.")
    request_id: str | None = Field(None, description="Request id, as in the header X-Request-ID and in the logs.")


def order_is_wrong(status: int, errors: list[tuple[str, str]]) -> bool:
    """Return whether a problem with these fields and codes would be the same with any other image."""
    return (
        status in (409, 422)
        and bool(errors)
        and all(f != "image" and c not in _ALSO_ABOUT_THE_IMAGE for f, c in errors)
    )


class ProblemError(Exception):
    """Raised anywhere in a request, answered as a problem."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.errors, self.headers = errors, headers

    @property
    def is_about_the_order(self) -> bool:
        """Whether it would be the same with any other image."""
        return order_is_wrong(self.status, [(one.field, one.code) for one in self.errors or []])

    def document(self, instance: str | None = None, request_id: str | None = None) -> Problem:
        """Return the problem document."""
        return Problem(
            type=f"urn:purifiqa:problem:{self.code}",
            title=self.code.replace("-", " ").capitalize(),
            status=self.status,
            detail=self.detail,
            code=self.code,
            instance=instance,
            errors=self.errors,
            request_id=request_id,
        )


def field_problem(status: int, field: str, code: str, detail: str, **facts: Any) -> ProblemError:
    """Return the problem of one wrong field; `facts` are the other fields of FieldError."""
    wrong = FieldError(field=field, code=code, detail=detail, **facts)
    return ProblemError(status, code, f"{field}: {detail}", errors=[wrong])


def image_problem(error: ImageError) -> ProblemError:
    """Return the problem of an image that the door refuses."""
    status = _IMAGE_STATUS.get(error.code, 422)
    return field_problem(status, "image", error.code, str(error), limit=error.limit, actual=error.actual)


def invalid_fields(
    error: ValidationError | RequestValidationError,
    prefix: str = "",
    known: Callable[[list[str]], Iterable[str]] = lambda _: (),
) -> ProblemError:
    """Return the problem of pydantic's findings, without echoing what was sent.

    `known` tells, for the place of an unknown name, the names that exist there.
    """
    found, items = [], error.errors()
    wrong_within = {place[:end] for place in (item["loc"] for item in items) for end in range(len(place))}
    for item in items[:MAX_FIELD_ERRORS]:
        if item["type"] == "too_short" and item["loc"] in wrong_within:
            continue  # pydantic counts only the members that are right
        place = [str(part)[:80] for part in item["loc"] if part not in ("body", "query", "path", "header")]
        context, detail, suggestion = item.get("ctx", {}), item["msg"].removeprefix("Value error, "), None
        if item["type"] == "extra_forbidden":
            suggestion = closest(place[-1], known(place[:-1]))
            detail = "there is no such parameter" + (f"; did you mean {suggestion!r}?" if suggestion else "")
        elif item["type"] == "union_tag_invalid":
            suggestion = closest(str(context["tag"])[:80], context["expected_tags"].replace("'", "").split(", "))
            detail = "there is no such defense" + (f"; did you mean {suggestion!r}?" if suggestion else "")
        elif item["type"] == "model_attributes_type":
            detail = 'in a JSON list, each defense is an object with a "name", such as {"name": "jpeg"}'
        found.append(
            FieldError(
                field=".".join([prefix, *place] if prefix else place) or "body",
                code=item["type"].replace("_", "-"),
                detail=detail,
                limit=next((context[key] for key in _BOUNDS if key in context), None),
                suggestion=suggestion,
            )
        )
    return ProblemError(422, "invalid-request", "; ".join(f"{one.field}: {one.detail}" for one in found), errors=found)


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the name in `known` that was probably meant."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def respond(request: Request, error: ProblemError) -> Response:
    """Return the problem as a response."""
    name = request_id(request.scope)
    body = error.document(request.url.path, name).model_dump(mode="json", exclude_none=True)
    headers = {**_PLAIN, **(error.headers or {}), **({HEADER: name} if name else {})}
    return Response(json.dumps(body), error.status, headers, MEDIA_TYPE)  # ASCII: also for lone surrogates


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""

    async def on_problem(request: Request, error: Exception) -> Response:
        return respond(request, _as_problem(request, error))

    for kind in (
        *BROKER_ERRORS, ProblemError, ImageError, DecoderBusyError, RequestValidationError, HTTPException,
        StoreFullError, JobUnknownError, JobExpiredError, Exception,
    ):  # fmt: skip
        app.add_exception_handler(kind, on_problem)


def _allowed(request: Request, told: str) -> str:
    """Return the methods of a path. Starlette has `told` only those of the first of several routes."""
    path = getattr(request.scope.get("route"), "path", None)
    routes = (one for one in iter_route_contexts(request.app.routes) if path and one.path == path)
    found = {method for one in routes for method in one.methods or ()}
    return ", ".join(sorted(found | ({"HEAD"} if "GET" in found else set()))) or told


def _named(request: Request) -> str:
    """Return what the path names: a batch is looked up and kept as a job is."""
    return "batch" if "batch_id" in request.path_params else "job"


def _as_problem(request: Request, error: Exception) -> ProblemError:
    match error:
        case ProblemError():
            return error
        case ImageError():
            return image_problem(error)
        case RequestValidationError():
            return invalid_fields(error)
        case HTTPException(status_code=404):
            return ProblemError(404, "not-found", "There is nothing at this path; /docs lists all paths.")
        case HTTPException(status_code=405):
            allowed = _allowed(request, (error.headers or {}).get("Allow", "GET, HEAD"))
            return ProblemError(
                405, "method-not-allowed", f"This path supports {allowed} only.", headers={"Allow": allowed}
            )
        case HTTPException():
            code = {400: "bad-request", 413: "body-too-large"}.get(error.status_code, "http-error")
            return ProblemError(error.status_code, code, str(error.detail), headers=error.headers)
        case JobUnknownError():
            return ProblemError(404, f"{_named(request)}-unknown", f"There is no such {_named(request)}.")
        case JobUnreadableError():
            detail = "Another version of PurifIQA wrote this job, and this one cannot read it."
            return ProblemError(410, "job-expired", detail)
        case JobExpiredError():
            what = _named(request)
            return ProblemError(410, f"{what}-expired", f"The {what} has expired: its retention time is over.")
        case _ if isinstance(error, BROKER_ERRORS):
            log.error("the queue cannot be used: %s", error)
            return ProblemError(
                503, "queue-unavailable", "The queue cannot be reached; nothing was accepted.",
                headers={"Retry-After": str(BROKER_RETRY_SECONDS)},
            )  # fmt: skip
        case DecoderBusyError():
            return ProblemError(
                503, "busy", "The machine is too busy to read the image; nothing was accepted.",
                headers={"Retry-After": str(BUSY_RETRY_SECONDS)},
            )  # fmt: skip
        case StoreFullError():
            return ProblemError(507, "store-full", "There is no room for the image; nothing was accepted.")
        case _:
            return ProblemError(500, "internal-error", "Internal error; the details are in the log of the service.")
