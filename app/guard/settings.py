"""What an operator can set about who may use the service, and how much of it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from app.guard.access import KEYS_FILE
from app.guard.origins import check_origin
from workers.settings import WorkerSettings


class GuardSettings(WorkerSettings):
    """Settings of the guard. docs/security.md says what each defends against."""

    auth: Literal["auto", "keys", "off"] = Field(
        "auto",
        description="Whether keys are required; auto: if there is a key file; without it, only this machine is served.",
    )
    api_keys_file: Path | None = Field(
        None,
        description="File with the hashes of API keys, reread when it changes; unset: `api-keys` in the data folder.",
    )
    publish: str = Field(
        "",
        description="Address where a container's port is published, if not the one listened on; for `auth` auto.",
    )
    api_key: SecretStr | None = Field(None, description="API key that `--server` sends; for clients.")
    allowed_hosts: str = Field(
        "", description="Comma list of additional host names that an API without keys answers to."
    )
    cors_origins: str = Field("", description="Comma list of origins whose web pages may use the API; empty: none.")
    rate: float = Field(
        10,
        gt=0,
        le=100_000,
        description="Orders per second per API key; any other call counts as a twentieth of one, /metrics as none.",
    )
    burst: int = Field(100, ge=1, le=1_000_000, description="Orders that one API key may send at once.")
    max_in_flight: int = Field(200, ge=1, le=10_000, description="Unfinished jobs that one API key may have.")
    max_queued: int = Field(10_000, ge=1, description="Jobs that may wait in the queue, of all keys together.")
    max_store_bytes: int | None = Field(
        None,
        ge=1,
        description="Most bytes of inputs and results, roughly (measured every half minute); unset: the disk's limit.",
    )
    min_free_bytes: int = Field(
        500_000_000,
        ge=0,
        description="Bytes to keep free on the disk of the data folder; with less, no orders are accepted.",
    )
    max_work: float = Field(
        4_000,
        gt=0,
        description="Largest work of one order: megapixels x small-network evaluations x samples; about core seconds.",
    )
    max_held: float = Field(
        3,
        gt=0,
        description="Largest part of that work that an attack may keep in memory for a gradient; 1 to 2 GB per unit.",
    )
    max_connections: int = Field(500, ge=1, le=100_000, description="Connections to one API process at the same time.")
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        le=3_600,
        description="Seconds that an unused connection stays open; longer than a proxy in front keeps it.",
    )
    max_receiving_bytes: int = Field(
        1_000_000_000, ge=1, description="Bytes of incoming orders that one API process may hold until they are stored."
    )
    header_seconds: float = Field(10, gt=0, le=600, description="Seconds within which a request's header must arrive.")
    body_seconds: float = Field(300, gt=0, le=3_600, description="Seconds within which a request's body must arrive.")
    body_min_rate: int = Field(
        4_096,
        ge=1,
        description="Lowest rate of a request's body in bytes per second, checked after the first ten seconds.",
    )
    write_seconds: float = Field(
        60, gt=0, le=3_600, description="Seconds that a client may pause while it reads an answer."
    )
    decode_seconds: int = Field(
        20, ge=1, le=600, description="CPU seconds that checking one image may take in its own process."
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        for origin in listed(text):
            check_origin(origin)
        return text

    @property
    def keys_file(self) -> Path:
        """Where the hashes of API keys are."""
        return self.api_keys_file or self.data_dir / KEYS_FILE


def listed(text: str) -> list[str]:
    """Return the entries of a comma list."""
    return [one.strip() for one in text.split(",") if one.strip()]
