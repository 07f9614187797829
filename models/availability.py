"""Whether a defense, metric or denoiser can be used on this machine and, if not, why and what to do."""

from pydantic import BaseModel, ConfigDict


class Availability(BaseModel):
    """Whether something can be used on this machine and, if not, why and what to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    available: bool
    reason: str | None = None
    cure: str | None = None

    @property
    def explanation(self) -> str:
        """The reason and the cure as sentences."""
        return f"{self.reason}. {self.cure or ''}".strip()


class UnavailableError(RuntimeError):
    """It cannot be used on this machine; the message says why and what to do."""

    def __init__(self, name: str, availability: Availability) -> None:
        self.availability = availability
        super().__init__(f"{name} cannot be used here: {availability.explanation}")


AVAILABLE = Availability(available=True)


def unavailable(reason: str, cure: str) -> Availability:
    """Return that something cannot be used, why, and the one thing that cures it."""
    return Availability(available=False, reason=reason, cure=cure)
