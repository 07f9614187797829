"""`Idempotency-Key`: a request that is sent again, because its answer was lost, makes no second job."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

from app.errors import ProblemError

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MAX_LENGTH = 255
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')


def read_key(request: Request) -> str | None:
    """Return the key that was sent, as a string of RFC 8941 or bare; None if none was. Raises a 400 problem."""
    sent = request.headers.getlist(HEADER)
    if not sent:
        return None
    text = sent[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if len(sent) > 1 or not key or len(key) > MAX_LENGTH or not (quoted or (_KEY.fullmatch(text) and '"' not in text)):
        raise ProblemError(
            400,
            "idempotency-key-invalid",
            f"{HEADER} must be one string of 1 to {MAX_LENGTH} visible ASCII characters.",
        )
    return key


def scope_of(request: Request, owner: str) -> tuple[str, ...] | None:
    """Return the key that was sent and all that it counts within; None if none was. Raises a 400 problem."""
    key = read_key(request)
    return (owner, request.url.path, key) if key else None


def fingerprint(form: BaseModel, images: Sequence[bytes], *facts: object) -> str:
    """Return a digest of what was sent: the same for the same order, however its defense or attack is spaced."""
    fields: dict[str, Any] = form.model_dump(mode="json", exclude_none=True)
    fields |= {name: _spaced_alike(fields[name]) for name in ("defense", "attack") if name in fields}
    content = [fields, [hashlib.sha256(image).hexdigest() for image in images], [str(fact) for fact in facts]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _spaced_alike(text: str) -> str:
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return text.strip()


def reused() -> ProblemError:
    """Return the problem of a key that stands for another request."""
    return ProblemError(
        422, "idempotency-key-reused", f"This {HEADER} was already sent with another request; use a new one."
    )


def in_use() -> ProblemError:
    """Return the problem of a key whose first request has not been answered yet."""
    return ProblemError(
        409, "idempotency-key-in-use", f"A request with this {HEADER} is still being received; retry.",
        headers={"Retry-After": "1"},
    )  # fmt: skip
