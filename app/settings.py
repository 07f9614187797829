"""What an operator can set about the API: `PURIFIQA_*` environment variables, beside those of the workers."""

from pydantic import Field

from workers.settings import WorkerSettings


class Settings(WorkerSettings):
    """Settings of the API process."""

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port the API listens on; 0: any free one.")
    max_wait: int = Field(60, ge=0, le=600, description="Longest `Prefer: wait=N` in seconds.")
    drain_seconds: float = Field(
        0, ge=0, le=300, description="Seconds that a stopping API goes on answering while /readyz already says 503."
    )
    ready_workers: int = Field(1, ge=0, le=10_000, description="Workers without which /readyz says 503.")
    min_free_bytes: int = Field(
        500_000_000, ge=0, description="Bytes to leave free on the store's disk; below, nothing is accepted."
    )
    decoders: int = Field(2, ge=1, le=64, description="Images that one API process decodes at the same time.")
