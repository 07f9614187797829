"""A request becomes an order that can be carried out, or a problem that names the field."""

import functools
import secrets

from pydantic import ValidationError

from app.errors import field_problem, invalid_fields
from app.schemas import PurifyForm, ScoreForm
from app.settings import Settings
from models.defense import Defense
from models.defenses import DEFENSES, UnknownDefenseError, parse_defense
from models.images import ImageFacts, ImageFormat
from models.metric import UnsuitableSizeError
from models.metrics import UnknownMetricError, find_metric
from models.noise import MAX_SEED
from workers.jobs import Kind, Order, check_sizes

MAX_METRICS = 8


def make_order(
    form: PurifyForm | ScoreForm,
    image: ImageFacts,
    settings: Settings,
    format: ImageFormat = ImageFormat.PNG,  # noqa: A002
) -> Order:
    """Return the order of a form, with the service's defaults put in. Raises ProblemError."""
    defense = chosen_defense(settings.default_defense if form.defense is None else form.defense)
    metrics = chosen_metrics(settings.default_metrics if form.metrics is None else form.metrics)
    try:
        check_sizes(defense, metrics, image.height, image.width)
    except UnsuitableSizeError as error:
        raise field_problem(422, "metrics", "image-size-unsuitable", str(error)) from error
    scoring = isinstance(form, ScoreForm)
    if scoring and not metrics:
        raise field_problem(422, "metrics", "missing", "name at least one metric")
    return Order(
        kind=Kind.SCORE if scoring else Kind.PURIFY,
        defense=defense,
        metrics=metrics,
        seed=secrets.randbelow(MAX_SEED + 1) if form.seed is None else form.seed,
        samples=form.samples if isinstance(form, ScoreForm) else 1,
        format=format,
    )


def chosen_defense(text: str) -> Defense:
    """Return the defense that a field names, usable here. Raises ProblemError."""
    defense = _parsed(text)
    availability = defense.availability()
    if not availability.available:
        detail = f"{defense.name} cannot be used here: {availability.explanation}"
        raise field_problem(409, "defense", "defense-unavailable", detail, actual=defense.name)
    return defense


def _parsed(text: str) -> Defense:
    try:
        return parse_defense(text)
    except UnknownDefenseError as error:
        raise field_problem(
            422, "defense", "unknown-defense", str(error), suggestion=error.suggestion, actual=error.name[:80]
        ) from error
    except ValidationError as error:
        raise invalid_fields(error, "defense", functools.partial(_parameters, error.title)) from error
    except ValueError as error:
        raise field_problem(422, "defense", "invalid-defense", str(error)) from error


def _parameters(outermost: str, place: list[str]) -> list[str]:
    """Return the names of the parameters at a place in a defense: of the innermost defense named on the way there."""
    kinds = {kind.__name__: kind for kind in DEFENSES.values()} | DEFENSES
    kind = next((kinds[name] for name in reversed(place) if name in DEFENSES), kinds[outermost])
    return [name for name in kind.model_fields if name != "name"]


def chosen_metrics(text: str) -> tuple[str, ...]:
    """Return the metrics that a comma list names, each once, all usable here. Raises ProblemError."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(names) > MAX_METRICS:
        raise field_problem(
            422, "metrics", "too-many", f"at most {MAX_METRICS} metrics at once", limit=MAX_METRICS, actual=len(names)
        )
    for name in names:
        try:
            availability = find_metric(name).availability()
        except UnknownMetricError as error:
            raise field_problem(
                422, "metrics", "unknown-metric", str(error), suggestion=error.suggestion, actual=name[:80]
            ) from error
        if not availability.available:
            detail = f"{name} cannot be used here: {availability.explanation}"
            raise field_problem(409, "metrics", "metric-unavailable", detail, actual=name)
    return names
