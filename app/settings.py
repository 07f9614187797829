"""What an operator can set about the API: `PURIFIQA_*` environment variables, beside those of the workers."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, SecretStr

from app.guard.settings import GuardSettings

CI_CACHE = "PURIFIQA_CI_CACHE"
"""Where `.ci/run` keeps environments."""


class Settings(GuardSettings):
    """Settings of the API process."""

    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port that the API listens on; 0: any free port.")
    max_wait: int = Field(60, ge=0, le=600, description="Largest N of `Prefer: wait=N` in seconds.")
    drain_seconds: float = Field(
        0, ge=0, le=300, description="Seconds that a stopping API keeps answering while /readyz already returns 503."
    )
    ready_workers: int = Field(
        1, ge=0, le=10_000, description="Workers that must be ready; with fewer, /readyz returns 503."
    )
    decoders: int = Field(2, ge=1, le=64, description="Images that one API process decodes at the same time.")
    max_batch_images: int = Field(32, ge=1, le=1000, description="Largest number of images in one request.")
    max_batch_pixels: int = Field(
        100_000_000, ge=256, description="Largest number of pixels in one request, all images together."
    )
    max_followers: int = Field(200, ge=1, le=5000, description="Event streams that one API process serves at a time.")
    max_retry_after: int = Field(60, ge=1, le=3600, description="Largest `Retry-After` in seconds.")
    attacks: bool = Field(
        False, description="Whether clients that may send orders may also use `POST /attack`; off: it returns 403."
    )
    reuse_results: bool = Field(True, description="Whether an identical order is answered with the stored result.")
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="Signing secret, `whsec_` and base64 of 24 to 64 bytes; to rotate, several; unset: no webhooks.",
    )
    webhook_secret_file: Path | None = Field(None, description="File with the webhook secret.")
    webhook_allow_http: bool = Field(False, description="Whether webhooks may be sent without TLS.")
    webhook_allow_private: bool = Field(False, description="Whether webhooks may be sent to private addresses.")
    webhook_attempts: int = Field(
        9, ge=1, le=20, description="Delivery attempts per webhook; by default, they spread over nine hours."
    )
    webhook_retry_seconds: float = Field(
        10, gt=0, le=3600, description="Seconds before a webhook is retried; each further wait is three times as long."
    )
    webhook_timeout: float = Field(
        15, gt=0, le=30, description="Seconds that one delivery attempt of a webhook may take."
    )


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Return a line for each variable that begins as a setting's does and is none: a misspelled one changes nothing."""
    prefix = str(Settings.model_config["env_prefix"])
    known = [f"{prefix}{name.upper()}" for name in Settings.model_fields]
    lines = []
    for name in names:
        if name.startswith(prefix) and name not in known and name != CI_CACHE:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)  # all begin alike
            hint = f"; did you mean {close[0]}?" if close else ""
            lines.append(f"there is no setting {name}{hint}")
    return lines
