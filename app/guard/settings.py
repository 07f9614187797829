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
        description="Whether API keys are asked for; auto: if there is a key file, else open on this machine only.",
    )
    api_keys_file: Path | None = Field(
        None, description="Hashes of the API keys, read again when it changes; unset: `api-keys` in the data folder."
    )
    publish: str = Field(
        "", description="Where a container's port is published, if not what the API listens on: `auth` auto looks here."
    )
    api_key: SecretStr | None = Field(None, description="For clients: the API key that `--server` sends.")
    allowed_hosts: str = Field("", description="Comma list of further names under which an API without keys answers.")
    cors_origins: str = Field("", description="Comma list of origins whose pages may use the API; empty: none.")
    rate: float = Field(
        10,
        gt=0,
        le=100_000,
        description="Orders per second of one API key; other calls count a twentieth, /metrics nothing.",
    )
    burst: int = Field(100, ge=1, le=1_000_000, description="Orders of one API key that may come at once.")
    max_in_flight: int = Field(200, ge=1, le=10_000, description="Jobs of one API key that have not ended.")
    max_queued: int = Field(10_000, ge=1, description="Jobs that may wait, of all together.")
    max_store_bytes: int | None = Field(
        None,
        ge=1,
        description="About the most bytes of inputs and results, measured every half minute; unset: the disk's.",
    )
    min_free_bytes: int = Field(
        500_000_000, ge=0, description="Bytes to leave free on the store's disk; below, nothing is accepted."
    )
    max_work: float = Field(
        4_000,
        gt=0,
        description="Most work of one order: megapixels x evaluations of a small network x samples; near core seconds.",
    )
    max_held: float = Field(
        3,
        gt=0,
        description="Most of that work that an attack may keep in memory at once, for a gradient; 1 to 2 GB a unit.",
    )
    max_connections: int = Field(500, ge=1, le=100_000, description="Connections to one API process at a time.")
    max_receiving_bytes: int = Field(
        1_000_000_000, ge=1, description="Bytes of orders that one API process holds until they are in the store."
    )
    header_seconds: float = Field(10, gt=0, le=600, description="Longest that a request's header may take to arrive.")
    body_seconds: float = Field(300, gt=0, le=3_600, description="Longest that a request's body may take to arrive.")
    body_min_rate: int = Field(
        4_096, ge=1, description="Fewest bytes per second of a body, counted after the first ten seconds."
    )
    write_seconds: float = Field(60, gt=0, le=3_600, description="Longest that a client may stop reading an answer.")
    decode_seconds: int = Field(
        20, ge=1, le=600, description="Processor seconds that the check of one image may take in its own process."
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
