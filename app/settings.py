"""What an operator can set about the API: `PURIFIQA_*` environment variables, beside those of the workers."""

from pathlib import Path

from pydantic import Field, SecretStr

from app.guard.settings import GuardSettings


class Settings(GuardSettings):
    """Settings of the API process."""

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port the API listens on; 0: any free one.")
    max_wait: int = Field(60, ge=0, le=600, description="Longest `Prefer: wait=N` in seconds.")
    drain_seconds: float = Field(
        0, ge=0, le=300, description="Seconds that a stopping API goes on answering while /readyz already says 503."
    )
    ready_workers: int = Field(1, ge=0, le=10_000, description="Workers without which /readyz says 503.")
    decoders: int = Field(2, ge=1, le=64, description="Images that one API process decodes at the same time.")
    max_batch_images: int = Field(32, ge=1, le=1000, description="Images in one request.")
    max_batch_pixels: int = Field(100_000_000, ge=256, description="Pixels of all images of one request together.")
    max_followers: int = Field(200, ge=1, le=5000, description="Event streams that one API process serves at a time.")
    max_retry_after: int = Field(60, ge=1, le=3600, description="Largest `Retry-After` in seconds.")
    attacks: bool = Field(
        False, description="Whether `POST /attack` misleads metrics for whoever may send orders; off: 403."
    )
    reuse_results: bool = Field(True, description="Whether an identical order is answered from the store.")
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="`whsec_` and base64 of 24 to 64 bytes; several while one takes over; unset: no webhooks.",
    )
    webhook_secret_file: Path | None = Field(None, description="A file that holds the webhook secret.")
    webhook_allow_http: bool = Field(False, description="Whether a webhook may be sent without TLS.")
    webhook_allow_private: bool = Field(False, description="Whether a webhook may be sent to a private address.")
    webhook_attempts: int = Field(
        9, ge=1, le=20, description="How often a webhook is tried, over nine hours by default."
    )
    webhook_retry_seconds: float = Field(
        10, gt=0, le=3600, description="Seconds until a webhook is tried again; each wait is three times the last."
    )
    webhook_timeout: float = Field(15, gt=0, le=30, description="Seconds that sending a webhook may take.")
