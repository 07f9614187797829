"""What an operator can set about the queue, the store and the workers: `PURIFIQA_*` environment variables."""

from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.defense import Cost
from models.images import ImageLimits

_WEEK = 604_800
"""Bounds the time of a job: with the most samples, a limit must still fit into the 31 bits of an alarm."""
_YEARS = 315_360_000
"""Ten of them, in seconds: bounds how long anything is kept, by what Redis can count."""


class WorkerSettings(BaseSettings):
    """Settings that the API and the workers share; both must be started with the same ones."""

    model_config = SettingsConfigDict(env_prefix="PURIFIQA_", frozen=True, extra="ignore")

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="URL of Redis or Valkey.")
    redis_password_file: Path | None = Field(None, description="File with the Redis password, such as a Docker secret.")
    data_dir: Path = Field(
        Path.home() / ".local" / "share" / "purifiqa",
        description="Folder for inputs and results; the API and all workers must share it.",
    )
    weights_dir: Path | None = Field(
        None, description="Folder for large model weights; unset: each library's own cache folder."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Device that workers compute on; auto: CUDA if present, else the CPU."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Number format of networks; auto: bfloat16 for shipped networks if the hardware is faster with it.",
    )
    default_defense: str = Field(
        "diffpure", description="Defense for requests that name none; workers load it when they start."
    )
    default_metrics: str = Field(
        "fr-surrogate,piqe",
        description="Comma list of metrics for requests that name none; workers load them when they start.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest level of messages that are logged."
    )
    log_format: Literal["json", "text"] = Field(
        "text", description="Format of the log: text for people, json (one object per line) for machines."
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads per worker process.")
    result_ttl: int = Field(86_400, ge=1, le=_YEARS, description="Seconds to keep a job and its files after it ends.")
    queue_ttl: int = Field(86_400, ge=1, le=_YEARS, description="Seconds that a job may wait in the queue.")
    timeout_cheap: int = Field(120, ge=1, le=_WEEK, description="Seconds that a job with a cheap defense may run.")
    timeout_network: int = Field(600, ge=1, le=_WEEK, description="Seconds that a job with a network defense may run.")
    timeout_diffusion: int = Field(
        3_600, ge=1, le=_WEEK, description="Seconds that a job with a diffusion defense may run."
    )
    timeout_attack: int = Field(14_400, ge=1, le=_WEEK, description="Seconds that an attack may run, with any defense.")
    batch_pixels: int | None = Field(
        None,
        ge=0,
        description="Pixels of waiting images that a worker computes in one batch; 0: one job at a time; unset: "
        "0 on CPUs, 4194304 on CUDA.",
    )
    lease: float = Field(
        10, ge=1, le=300, description="Seconds of silence from a worker after which its job counts as lost."
    )
    stop_grace: float = Field(
        120, ge=0, description="Seconds that a stopping worker may go on with its job before it requeues it."
    )
    max_jobs: int = Field(0, ge=0, description="Jobs after which a worker process exits, to be restarted; 0: no limit.")
    max_memory: int = Field(
        0,
        ge=0,
        description="MB of resident memory at which a worker process exits, to be restarted; 0: no limit.",
    )
    max_bytes: int = Field(25_000_000, ge=1_000, description="Largest image file in bytes.")
    max_pixels: int = Field(
        40_000_000, ge=256, description="Largest image in pixels (width x height), checked before decoding."
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Take no empty text for a folder, a file or a number; of what is text, it says something."""
        fields = cls.model_fields
        return {name: value for name, value in given.items() if value != "" or fields[name].annotation is str}

    @property
    def limits(self) -> ImageLimits:
        """The limits of an image at the door."""
        return ImageLimits(max_bytes=self.max_bytes, max_pixels=self.max_pixels)

    @property
    def default_metric_names(self) -> tuple[str, ...]:
        """The metrics of `default_metrics`."""
        return tuple(name.strip() for name in self.default_metrics.split(",") if name.strip())

    def timeout(self, cost: Cost) -> int:
        """Return the seconds a job of this cost may run."""
        return {
            Cost.CHEAP: self.timeout_cheap,
            Cost.NETWORK: self.timeout_network,
            Cost.DIFFUSION: self.timeout_diffusion,
        }[cost]

    def broker_url(self) -> str:
        """Return the Redis URL with the password from `redis_password_file` put in.

        Raises ValueError, with the variable's name, where there is no password in that file."""
        if (file := self.redis_password_file) is None:
            return self.redis_url
        try:
            password = quote(file.read_text().strip(), safe="")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ValueError(f"PURIFIQA_REDIS_PASSWORD_FILE: {file} cannot be read: {why}") from error
        if not password:
            raise ValueError(f"PURIFIQA_REDIS_PASSWORD_FILE: {file} is empty")
        parts = urlsplit(self.redis_url)
        return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{password}@{parts.netloc.rpartition('@')[2]}"))
