"""The door: a multipart request becomes one image that can be decoded and the fields that go with it, or a problem."""

from typing import TypeVar

from anyio.to_thread import run_sync
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from app.errors import ProblemError, closest, field_problem, invalid_fields
from app.services import Services
from models.images import ImageFacts

Form = TypeVar("Form", bound=BaseModel)

IMAGE = "image"


async def read_form(request: Request, kind: type[Form], max_image_bytes: int) -> tuple[bytes, Form]:
    """Return the image's bytes and the other fields. File names are never used. Raises ProblemError."""
    if not request.headers.get("content-type") and request.headers.get("content-length", "0") == "0":
        raise field_problem(422, IMAGE, "missing", "the request has no body; send multipart/form-data")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise field_problem(415, "body", "not-multipart", "send multipart/form-data with the image in the part `image`")
    try:
        async with request.form(max_files=2, max_fields=32, max_part_size=64_000) as form:
            known = [IMAGE, *kind.model_fields]
            _check_names(form, known)
            fields = {name: value for name, value in form.items() if name != IMAGE}
            image = form.get(IMAGE)
            if not isinstance(image, UploadFile):
                raise field_problem(422, IMAGE, "missing", "send the image file in a part of this name")
            if image.size is not None and image.size > max_image_bytes:
                raise field_problem(
                    413, IMAGE, "image-too-large", f"the file is larger than {max_image_bytes} bytes",
                    limit=max_image_bytes, actual=image.size,
                )  # fmt: skip
            return await image.read(), kind.model_validate(fields)
    except (HTTPException, MultiPartException) as error:
        raise ProblemError(400, "bad-form", f"The form cannot be read: {getattr(error, 'detail', error)}") from error
    except ClientDisconnect as error:
        raise ProblemError(400, "client-disconnected", "The request ended before its body did.") from error
    except ValidationError as error:
        raise invalid_fields(error) from error


def _check_names(form: FormData, known: list[str]) -> None:
    names = [name for name, _ in form.multi_items()]
    for name in names:
        if name not in known:
            raise field_problem(
                422, name[:80], "unknown-field", f"there is no such field; there are {', '.join(known)}",
                suggestion=closest(name, known),
            )  # fmt: skip
        if names.count(name) > 1:
            raise field_problem(422, name, "sent-twice", "send this field once", limit=1, actual=names.count(name))
    for name, value in form.items():
        if name != IMAGE and isinstance(value, UploadFile):
            raise field_problem(422, name, "not-text", "this field is text, not a file")


async def check_image(services: Services, data: bytes) -> ImageFacts:
    """Decode the image fully, a few at a time, each in a process apart, and return its facts. Raises ImageError."""
    return await run_sync(services.decoding.check, data, limiter=services.decoders)
