"""One event, one line: JSON for machines, text for people, for our loggers and for the libraries' alike.

What may be in a line is listed here, so that nothing gets in by accident: the message, the fields of FIELDS given as
`extra`, and what `bind` put around the event. Never image bytes, names of files that users sent, or secrets.
"""

import logging
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Literal

import structlog
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.types import Processor

CONTEXT = ("request_id", "trace_id", "owner", "job_id")
FIELDS = (
    "method", "route", "status", "duration_ms", "job_id", "kind", "defense", "attack", "outcome", "code", "worker",
    "device", "queued_ms", "run_ms", "owner", "jobs", "attempts",
)  # fmt: skip
LONGEST_TEXT = 2_000
LONGEST_STORY = 20_000

_CREDENTIALS = re.compile(r"(://)[^/\s@]*@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_QUIET = ("httpx", "httpx2", "PIL", "multipart", "asyncio")


def configure(level: str, form: Literal["json", "text"]) -> None:
    """Send every event of this process to standard error, from `level` on, in this form. May be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(form, colors=sys.stderr.isatty()))
    root = logging.getLogger()
    for old in [one for one in root.handlers if getattr(one, "is_ours", False)]:
        root.removeHandler(old)
    handler.is_ours = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "rq.worker"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def formatter(form: Literal["json", "text"], *, colors: bool = False) -> logging.Formatter:
    """Return the formatter of a log handler."""
    gather: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _add_logger,
        structlog.stdlib.ExtraAdder(allow=FIELDS),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _bounded]
    if form == "json":
        render.append(structlog.processors.JSONRenderer())
    else:
        render += [_one_line, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, pad_level=False)]
    return structlog.stdlib.ProcessorFormatter(processors=render, foreign_pre_chain=gather)


@contextmanager
def bind(**fields: str) -> Iterator[None]:
    """Put these fields of CONTEXT into every line written inside; "" is left out."""
    with bound_contextvars(**{name: text for name, text in fields.items() if name in CONTEXT and text}):
        yield


def bound(name: str) -> str:
    """Return a field of CONTEXT as bound here, or ""."""
    return str(get_contextvars().get(name, ""))


def _add_logger(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["logger"] = event["_record"].name
    return event


def _bounded(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Cut what is long, hide what a URL says of users and passwords; other things than text and numbers are named."""
    for name, value in event.items():
        if isinstance(value, bool | int | float) or value is None:
            continue
        text = _CREDENTIALS.sub(r"\1***@", str(value))
        limit = LONGEST_STORY if name == "exception" else LONGEST_TEXT
        event[name] = text if len(text) <= limit else f"...{text[-limit:]}"
    return event


def _one_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """No text can begin a line of its own: only a traceback has more than one, each marked as its continuation."""
    for name, value in event.items():
        if isinstance(value, str):
            lines = value.splitlines() if name == "exception" else [value]
            event[name] = "\n    | ".join(_CONTROL.sub(lambda one: ascii(one[0])[1:-1], line) for line in lines)
    return event
