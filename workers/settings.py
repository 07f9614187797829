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

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Where Redis or Valkey listens.")
    redis_password_file: Path | None = Field(
        None, description="A file that holds the Redis password, such as a Docker secret."
    )
    data_dir: Path = Field(
        Path.home() / ".local" / "share" / "purifiqa",
        description="Folder for inputs and results; API and workers must see the same one.",
    )
    weights_dir: Path | None = Field(None, description="Folder for big weights; unset: the caches of each library.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where workers compute; auto: CUDA if present.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="What networks compute in; auto: bfloat16 where the hardware is faster in it, for what ships.",
    )
    default_defense: str = Field("diffpure", description="The defense when a request names none; workers warm it up.")
    default_metrics: str = Field(
        "fr-surrogate,piqe", description="Comma list of metrics when a request names none; also warmed."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="What is logged.")
    log_format: Literal["json", "text"] = Field(
        "text", description="How it is logged: text for people, json (an object per line) for machines."
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads of one worker process.")
    result_ttl: int = Field(
        86_400, ge=1, le=_YEARS, description="Seconds to keep a job and its files once it has ended."
    )
    queue_ttl: int = Field(86_400, ge=1, le=_YEARS, description="Seconds a job may wait in the queue.")
    timeout_cheap: int = Field(120, ge=1, le=_WEEK, description="Seconds a job with a cheap defense may run.")
    timeout_network: int = Field(600, ge=1, le=_WEEK, description="Seconds a job with a network defense may run.")
    timeout_diffusion: int = Field(3_600, ge=1, le=_WEEK, description="Seconds a job with a diffusion defense may run.")
    timeout_attack: int = Field(14_400, ge=1, le=_WEEK, description="Seconds an attack may run, with any defense.")
    batch_pixels: int | None = Field(
        None,
        ge=0,
        description="Pixels of waiting images that a worker computes at once; 0: one job at a time; unset: "
        "0 on CPUs, 4194304 on CUDA.",
    )
    lease: float = Field(10, ge=1, le=300, description="Seconds after which a job whose worker is silent is lost.")
    stop_grace: float = Field(
        120, ge=0, description="Seconds a worker told to stop may go on with its job before it gives it back."
    )
    max_jobs: int = Field(0, ge=0, description="Jobs after which a worker ends, to be started afresh; 0: any number.")
    max_memory: int = Field(
        0,
        ge=0,
        description="MB of resident memory from which a worker ends, to be started afresh; 0: any.",
    )
    max_bytes: int = Field(25_000_000, ge=1_000, description="Largest image file in bytes.")
    max_pixels: int = Field(40_000_000, ge=256, description="Largest image in pixels, checked before decoding.")

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
