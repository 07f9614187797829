"""What the client prefers: `Accept` for the form of the answer, `Prefer` for how long to wait for it."""

import re

import mimeparse
from starlette.requests import Request

from app.errors import ProblemError
from models.images import ImageFormat

JSON = "application/json"
_WAIT = re.compile(r'(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?', re.IGNORECASE)


def seconds_to_wait(request: Request, longest: int) -> int | None:
    """Return N of `Prefer: wait=N` (RFC 7240), at most `longest`; None if the client will not wait."""
    match = _WAIT.search(", ".join(request.headers.getlist("prefer")))
    return min(int(match[1]), longest) if match else None


def accepted_form(request: Request, asked: ImageFormat | None) -> ImageFormat | None:
    """Return the image format that `Accept` prefers as the answer itself, or None for the JSON job document.

    `asked` is the `format` field of the form: it decides among image types. Raises a 406 problem.
    """
    offers = [(asked or one).media_type for one in ((asked,) if asked else reversed(ImageFormat))]
    offers.append(JSON)  # the last offer wins a tie, such as */*
    accept = ", ".join(request.headers.getlist("accept")).lower() or "*/*"  # IMAGE/PNG is the same (RFC 9110, 8.3.1)
    try:
        best = mimeparse.best_match(offers, accept)
    except mimeparse.MimeTypeParseException:
        best = ""
    if not best:
        raise ProblemError(406, "not-acceptable", f"Accept must allow one of {', '.join(offers)}.")
    return None if best == JSON else ImageFormat(best.removeprefix("image/"))
