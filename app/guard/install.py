"""Put the guard around an app. Last added is outermost: every answer gets the headers, whoever gives it."""

from fastapi import FastAPI

from app.body_limit import FORM_OVERHEAD, BodyLimit
from app.guard import origins
from app.guard.deadline import BodyDeadline
from app.guard.headers import SecurityHeaders
from app.guard.settings import GuardSettings, listed


def install_inner(app: FastAPI, settings: GuardSettings, *, keys_are_on: bool) -> None:
    """Add the limits on what comes in; the counting of requests belongs around them."""
    app.add_middleware(BodyLimit, max_bytes=settings.max_bytes + FORM_OVERHEAD, max_held=settings.max_receiving_bytes)
    app.add_middleware(BodyDeadline, seconds=settings.body_seconds, pace=settings.body_min_rate)
    if not keys_are_on:
        app.add_middleware(
            origins.SameOrigin, hosts=listed(settings.allowed_hosts), origins=listed(settings.cors_origins)
        )


def install_outer(app: FastAPI, settings: GuardSettings) -> None:
    """Add what every answer carries."""
    origins.allow(app, listed(settings.cors_origins))
    app.add_middleware(SecurityHeaders, shared=bool(listed(settings.cors_origins)))
