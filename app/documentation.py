"""What the OpenAPI page says beyond the signatures: form bodies, defenses and attacks, problems, binary answers."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter

from app.errors import MEDIA_TYPE, FieldError, Problem
from app.request_context import HEADER
from app.schemas import BatchDocument, JobDocument
from models.attacks import ORDERABLE, OrderableAttack
from models.defenses import DEFENSES, AnyDefense
from models.images import ImageFormat

REF = "#/components/schemas/{model}"
IMAGES: dict[str, Any] = {one.media_type: {"schema": {"type": "string", "format": "binary"}} for one in ImageFormat}
_TITLES = {
    400: "The form cannot be read",
    401: "The API key is missing or unknown",
    403: "Not allowed for this key or this page's origin, or turned off",
    404: "Not found",
    406: "None of the accepted media types is available",
    408: "The request body arrived too slowly",
    409: "Not possible in the current state: weights are missing, a result is not ready, or the job has ended",
    410: "Expired",
    413: "Larger than the limit that the problem names",
    415: "Not a PNG, JPEG or WebP still image",
    421: "The service does not answer to this host name",
    422: "A field is invalid; the problem names the field, its limit and the closest match",
    429: "Too many orders or too many unfinished jobs; see Retry-After",
    500: "Internal error; the details are in the log of the service",
    503: "Temporarily unavailable; see Retry-After",
    507: "The store is full",
}
RETRY_AFTER = {
    "description": "Seconds to wait before asking again, estimated from the jobs ahead and their recent speed.",
    "schema": {"type": "integer"},
}
ETAG = {"ETag": {"description": "The SHA-256 of the image.", "schema": {"type": "string"}}}
_JOB_HEADERS = {
    "Location": {"description": "URL of the job or the batch.", "schema": {"type": "string"}},
    "Retry-After": RETRY_AFTER,
    "Preference-Applied": {"description": "The part of `Prefer` that was honored.", "schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "description": "`true`: the answer is that of an earlier, identical request.",
        "schema": {"type": "string"},
    },
}
_LATER = {"Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}}}
_ERROR_HEADERS = {
    401: {"WWW-Authenticate": {"description": "How to send an API key.", "schema": {"type": "string"}}},
    409: _LATER,
    429: _LATER,
    503: _LATER,
}
_HEADERS = {
    "Prefer": ("`wait=N`: answer within N seconds if the job is done (RFC 7240).", "wait=10"),
    "Idempotency-Key": (
        "Your unique id for this request. Sent again within a day, it returns the same job; with other content, 422.",
        "8e03978e-40d5-43dd-bc93-6894a57f9324",
    ),
    "Cache-Control": ("`no-cache`: compute again, even if an identical order has a stored result.", "no-cache"),
}
_FILLED_IN = {"Prefer"}
"""Headers that the form at /docs begins with; the others would change what a second try does."""

_NAMED: dict[str, tuple[Iterable[str], str, str]] = {
    "defense": (DEFENSES, "[(+]", "AnyDefense"),
    "attack": (ORDERABLE, "[(]", "OrderableAttack"),
}
"""Fields that take a name, a line or an object: the names, what only a line has in it, and what the object is."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of these errors."""
    content = {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}
    return {
        status: {"description": _TITLES[status], "content": content, "headers": _ERROR_HEADERS.get(status, {})}
        for status in (*statuses, 500)
    }


def accepted(images: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of the answers 200 and 202 to an order."""
    return {
        200: {
            "description": "Finished within the time of `Prefer: wait=N`",
            "model": JobDocument | BatchDocument,
            "content": {"application/json": {}, **(images or {})},  # /docs asks for the first
            "headers": {**_JOB_HEADERS, **(ETAG if images else {})},
        },
        202: {"description": "Accepted: the job is queued; follow it at `Location`", "headers": _JOB_HEADERS},
    }


def form_body(form: type[BaseModel]) -> dict[str, Any]:
    """Return the documentation of a multipart form: the image and the fields of `form`."""
    schema = form.model_json_schema(ref_template=REF)
    schema.pop("$defs", None)
    file = {"type": "string", "format": "binary"}
    image = {
        "type": "array", "items": file, "minItems": 1,
        "description": "A PNG, JPEG or WebP still image. Several parts with this name make a batch.",
    }  # fmt: skip
    for name, field in schema["properties"].items():  # a form's field is there or not, never null
        [kind] = [one for one in field.pop("anyOf", [{}]) if one != {"type": "null"}]
        schema["properties"][name] = {key: value for key, value in {**field, **kind}.items() if value is not None}
    named = {name: _named(schema["properties"][name], *_NAMED[name]) for name in _NAMED if name in schema["properties"]}
    schema["properties"] = {"image": image, **schema["properties"], **named}
    schema["required"] = ["image", *schema.get("required", [])]
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}},
        "parameters": [
            {"name": name, "in": "header", "description": text, "schema": {"type": "string", "examples": [example]}}
            | ({"example": example} if name in _FILLED_IN else {})
            for name, (text, example) in _HEADERS.items()
        ],
    }


def _named(field: dict[str, Any], names: Iterable[str], line: str, model: str) -> dict[str, Any]:
    """Return the documentation of a field that takes one of these names, a line such as `jpeg(quality=50)`, in which
    `line` is found, or an object of `model`.
    """
    text = {"type": "string"}
    forms = [{**text, "enum": list(names)}, {**text, "pattern": line}, {"$ref": REF.format(model=model)}]
    return {"description": field["description"], "examples": field["examples"], "anyOf": forms}


def install(app: FastAPI, complete: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    """Make the OpenAPI document of `app` complete; `complete` adds to it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(_schemas())
            _forget_defaults(document)
            complete(document)
            _tell_request_ids(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _forget_defaults(document: dict[str, Any]) -> None:
    """Remove what FastAPI adds by itself: a 422 in a shape that we never answer, a description without content."""
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                if response["description"] == "Successful Response":
                    response["description"] = operation["summary"]
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _tell_request_ids(document: dict[str, Any]) -> None:
    """Every answer has the header, whatever answers."""
    description = "Request id, as in the logs: the one sent in this header, or a new one."
    document["components"]["headers"] = {HEADER: {"description": description, "schema": {"type": "string"}}}
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                response["headers"] = {
                    **response.get("headers", {}),
                    HEADER: {"$ref": f"#/components/headers/{HEADER}"},
                }


def _schemas() -> dict[str, Any]:
    adapters: list[tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]] = [
        ("AnyDefense", "validation", TypeAdapter(AnyDefense)),
        ("OrderableAttack", "validation", TypeAdapter(OrderableAttack)),
        ("Problem", "serialization", TypeAdapter(Problem)),
        ("FieldError", "serialization", TypeAdapter(FieldError)),
        ("ImageFormat", "validation", TypeAdapter(ImageFormat)),
    ]
    found: dict[str, Any] = {}
    for name, mode, adapter in adapters:
        schema = adapter.json_schema(ref_template=REF, mode=mode)
        found.update(schema.pop("$defs", {}))
        found[name] = schema
    return found
