"""What clients send and receive. The names and shapes here are a promise: other programs use them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.errors import Problem, ProblemError
from models.images import ImageFacts, ImageFormat
from models.noise import MAX_SEED
from workers.orders import MAX_SAMPLES, AttackOrder, Kind
from workers.reports import AttackReport, Score
from workers.state.record import Delivery, Failure, JobRecord, Status


class OrderForm(BaseModel):
    """What all orders have in common, beside `image`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, examples=[1],
        description="Seed of all randomness. Left out: a fresh secret seed, reported in the job document.",
    )  # fmt: skip
    webhook: str | None = Field(
        None, max_length=2000, examples=[""],
        description="An https URL to notify when the job ends (signed, standard-webhooks). Empty: no notification.",
    )  # fmt: skip


class DefenseForm(OrderForm):
    """What `POST /purify` and `POST /score` have in common."""

    defense: str | None = Field(
        None,
        max_length=20_000,
        examples=["jpeg"],
        description="A defense: `jpeg`, `jpeg(quality=50)`, `flip+jpeg` for several, or JSON. Left out: the default.",
    )
    metrics: str | None = Field(
        None,
        max_length=2000,
        examples=["fr-surrogate"],
        description="Comma list of metrics for the scores before and after. Left out: the default.",
    )


class ScoreForm(DefenseForm):
    """The fields of `POST /score`, beside `image`."""

    samples: int = Field(
        1,
        ge=1,
        le=MAX_SAMPLES,
        description="Number of independently seeded purifications; the median score is reported.",
    )


class PurifyForm(DefenseForm):
    """The fields of `POST /purify`, beside `image`. Empty `metrics`: no scores."""

    format: ImageFormat | None = Field(
        None, examples=["png"],
        description="Format of the purified image: png or webp (lossless), or jpeg (quality 95, 4:4:4).",
    )  # fmt: skip


class AttackForm(OrderForm):
    """The fields of `POST /attack`, beside `image`."""

    attack: str = Field(
        max_length=20_000, examples=["ifgsm"],
        description="An attack: `ifgsm`, `ifgsm(epsilon=4)`, or JSON.",
    )  # fmt: skip
    metric: str = Field(max_length=2000, examples=["fr-surrogate"], description="Metric to mislead.")
    defense: str | None = Field(
        None,
        max_length=20_000,
        examples=["none"],
        description="A defense to attack through, written as for `/purify`. Left out: the attack ignores defenses.",
    )


def _is_absent(value: object) -> bool:
    return value is None


class JobResult(BaseModel):
    """What a finished job gives."""

    image_url: str | None = Field(description="URL of the purified or attacked image; null for a score.")
    scores: list[Score] = Field(description="Scores before and after purification; empty for an attack.")
    attack: AttackReport | None = Field(
        None, exclude_if=_is_absent, description="What the attack did; only for an attack."
    )


class JobDocument(BaseModel):
    """A job in its current state."""

    id: str
    kind: Kind
    status: Status
    progress: float = Field(ge=0, le=1, description="Fraction done.")
    position: int | None = Field(
        ge=0, description="Waiting jobs ahead of it; null once a worker has it, or if too many jobs wait."
    )
    defense: dict[str, Any] | None = Field(
        description="The defense with all parameters; null for an attack without one."
    )
    attack: dict[str, Any] | None = Field(
        None, exclude_if=_is_absent, description="The attack with all parameters; only for an attack."
    )
    seed: int = Field(description="Seed of all randomness: the same image, order and seed give the same result.")
    image: ImageFacts = Field(description="Facts about the image that was sent.")
    result: JobResult | None = Field(description="Null until the job is finished.")
    error: Problem | None = Field(description="Why the job failed.")
    timings_ms: dict[str, float] = Field(description="Milliseconds spent in the queue and in each step.")
    links: dict[str, str] = Field(description="Related URLs.")


class BatchItemDocument(BaseModel):
    """One image of a batch."""

    index: int = Field(ge=0, description="Position of the image in the request, counted from 0.")
    status: Status | None = Field(
        description="Status of its job; failed if the image was refused; null if the job is gone."
    )
    job: JobDocument | None = Field(description="Null if the image was refused or the job is gone.")
    error: Problem | None = Field(description="Why the image was refused, or why the job failed or is gone.")


class BatchDocument(BaseModel):
    """A batch, several images of one request, in its current state."""

    id: str
    kind: Kind = Field(description="Kind of its jobs.")
    status: Status = Field(
        description="queued or running while a job is unfinished; then finished if any is, else canceled, else failed."
    )
    progress: float = Field(ge=0, le=1, description="Fraction done of the whole batch.")
    counts: dict[str, int] = Field(description="Number of items by status.")
    items: list[BatchItemDocument] = Field(description="The images, in the order in which they were sent.")
    links: dict[str, str] = Field(description="Related URLs.")


class JobList(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobDocument]
    links: dict[str, str] = Field(description="`self`, and `next` if there are more.")


class WebhookDocument(Delivery):
    """Delivery state of a job's webhook. Times are seconds since the epoch."""

    id: str = Field(description="The `webhook-id` header, the same at every attempt.")


def job_document(record: JobRecord, position: int | None = None) -> JobDocument:
    """Return the document of a job, which so many others wait before."""
    place = f"/jobs/{record.id}"
    links = {"self": place, "events": f"{place}/events"}
    if record.origin.batch:
        links["batch"] = f"/batches/{record.origin.batch}"
    if record.origin.webhook:
        links["webhook"] = f"{place}/webhook"
    result = error = None
    if record.status is Status.FINISHED and record.report:
        image_url = f"{place}/image" if record.report.image else None
        if image_url:
            links["image"] = image_url
        result = JobResult(image_url=image_url, scores=list(record.report.scores), attack=record.report.attack)
    if not record.status.is_final:
        links["cancel"] = f"{place}/cancel"
    if record.failure:
        error = failure_problem(record.failure, place, record.origin.request_id)
    order = record.order
    attack = order.attack if isinstance(order, AttackOrder) else None
    return JobDocument(
        id=record.id,
        kind=order.kind,
        status=record.status,
        progress=record.progress,
        position=position if record.status is Status.QUEUED else None,
        defense=None if order.defense is None else order.defense.model_dump(mode="json"),
        attack=None if attack is None else attack.model_dump(mode="json"),
        seed=order.seed,
        image=record.image,
        result=result,
        error=error,
        timings_ms=record.report.timings_ms if record.report else {},
        links=links,
    )


def failure_problem(failure: Failure, place: str, request_id: str = "") -> Problem:
    """Return the problem that tells of a failure of what is at `place`."""
    return ProblemError(failure.status, failure.code, failure.detail).document(place, request_id or None)
