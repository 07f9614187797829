"""What an operator can set about the API: `PURIFIQA_*` environment variables, beside those of the workers."""

from pydantic import Field

from app.guard.settings import GuardSettings


class Settings(GuardSettings):
    """Settings of the API process."""

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port the API listens on; 0: any free one.")
    max_wait: int = Field(60, ge=0, le=600, description="Longest `Prefer: wait=N` in seconds.")
    decoders: int = Field(2, ge=1, le=64, description="Images that one API process decodes at the same time.")
