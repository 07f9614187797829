"""The door: a multipart request becomes images that can be decoded and the fields that go with it, or a problem."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from anyio.to_thread import run_sync
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from app.errors import ProblemError, closest, field_problem, invalid_fields
from app.services import Services
from app.settings import Settings
from models.images import ImageFacts

Form = TypeVar("Form", bound=BaseModel)

IMAGE = "image"


class _FormParser(MultiPartParser):
    """Starlette's, which takes a form that breaks off for one without its last field, and a nameless file for text."""

    spool_max_size = 0  # no file ever goes to the disk: all of it is about to be read, and BodyLimit bounds it
    is_whole = False

    def on_end(self) -> None:
        self.is_whole = True

    def close(self) -> None:
        """Close every file, also that of the part in which a form breaks off."""
        for file in self._files_to_close_on_error:
            file.close()

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.field_name == IMAGE and self._current_part.file is None:
            raise field_problem(422, IMAGE, "missing", "send the image as a file: this part has no filename")
        if self._current_files == self.max_files:
            most = int(self.max_files) - 1
            raise field_problem(
                422, IMAGE, "too-many", f"at most {most} images per request", limit=most, actual=f"more than {most}"
            )


@asynccontextmanager
async def _received(request: Request, most_files: int) -> AsyncIterator[FormData]:
    async with aclosing(request.stream()) as stream:
        parser = _FormParser(request.headers, stream, max_files=most_files + 1, max_fields=32, max_part_size=64_000)
        form = await parser.parse()
    try:
        if not parser.is_whole:
            raise MultiPartException("It ends before its final boundary.")
        yield form
    finally:
        parser.close()


async def read_form(request: Request, kind: type[Form], settings: Settings) -> tuple[list[bytes], Form]:
    """Return the images' bytes, at least one, and the other fields. File names are never used. Raises ProblemError."""
    if not request.headers.get("content-type") and request.headers.get("content-length", "0") == "0":
        raise field_problem(422, IMAGE, "missing", "the request has no body; send multipart/form-data")
    if name := next(iter(request.query_params), None):
        raise field_problem(422, name[:80], "not-in-the-form", "send this as a form field, not in the query string")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise field_problem(415, "body", "not-multipart", "send multipart/form-data with the image in the part `image`")
    try:
        async with _received(request, settings.max_batch_images) as form:
            known = [IMAGE, *kind.model_fields]
            _check_names(form, known)
            fields = {name: value for name, value in form.items() if name != IMAGE}
            files = [file for file in form.getlist(IMAGE) if isinstance(file, UploadFile)]
            if not files:
                raise field_problem(422, IMAGE, "missing", "send the image file in a part with this name")
            if (largest := max(file.size or 0 for file in files)) > settings.max_bytes:
                raise field_problem(
                    413, IMAGE, "image-too-large", f"the file is larger than {settings.max_bytes} bytes",
                    limit=settings.max_bytes, actual=largest,
                )  # fmt: skip
            return [await _whole(file) for file in files], kind.model_validate(fields)
    except (MultiPartException, UnicodeError) as error:
        raise ProblemError(400, "bad-form", f"The form cannot be read: {error}") from error
    except ClientDisconnect as error:
        raise ProblemError(
            400, "client-disconnected", "The connection closed before the whole body arrived."
        ) from error
    except ValidationError as error:
        raise invalid_fields(error) from error


async def _whole(file: UploadFile) -> bytes:
    """Return all of a file, of which nothing is left then."""
    data = await file.read()
    await file.close()
    return data


def _check_names(form: FormData, known: list[str]) -> None:
    names = [name for name, _ in form.multi_items()]
    for name in names:
        if name not in known:
            raise field_problem(
                422, name[:80], "unknown-field", f"there is no such field; the fields are {', '.join(known)}",
                suggestion=closest(name, known),
            )  # fmt: skip
        if name != IMAGE and names.count(name) > 1:
            raise field_problem(422, name, "sent-twice", "send this field only once", limit=1, actual=names.count(name))
    for name, value in form.items():
        if name != IMAGE and isinstance(value, UploadFile):
            raise field_problem(422, name, "not-text", "this field is text, not a file")


async def check_image(services: Services, data: bytes) -> ImageFacts:
    """Decode the image fully, a few at a time, each in a process apart, and return its facts. Raises ImageError."""
    return await run_sync(services.decoding.check, data, limiter=services.decoders)
