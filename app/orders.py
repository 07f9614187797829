"""A request becomes an order that can be carried out, or a problem that names the field."""

import functools
import secrets

from pydantic import ValidationError

from app.errors import ProblemError, field_problem, invalid_fields
from app.schemas import AttackForm, OrderForm, PurifyForm, ScoreForm
from app.settings import Settings
from models.attack import Attack, DefenseMissingError, NoGradientError
from models.attacks import ATTACKS, ORDERABLE, UnknownAttackError, parse_attack
from models.defense import Defense
from models.defenses import DEFENSES, UnknownDefenseError, parse_defense
from models.images import ImageFacts, ImageFormat
from models.metric import UnsuitableSizeError
from models.metrics import UnknownMetricError, find_metric
from models.noise import MAX_SEED
from workers.jobs import check_sizes
from workers.orders import AttackOrder, DefenseOrder, Kind

MAX_METRICS = 8


def make_order(
    form: PurifyForm | ScoreForm,
    image: ImageFacts,
    settings: Settings,
    format: ImageFormat = ImageFormat.PNG,  # noqa: A002
) -> DefenseOrder:
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
    longest = max(defense.output_size((image.height, image.width)))
    if not scoring and longest > format.max_side:
        raise field_problem(
            422, "format", "result-too-large",
            f"the result would have a side of {longest} pixels, but {format} allows at most {format.max_side}; "
            "choose another format, or a smaller outscale or image",
            limit=format.max_side, actual=longest,
        )  # fmt: skip
    return DefenseOrder(
        kind=Kind.SCORE if scoring else Kind.PURIFY,
        defense=defense,
        metrics=metrics,
        seed=_seed(form),
        samples=form.samples if isinstance(form, ScoreForm) else 1,
        format=format,
    )


def make_attack_order(form: AttackForm, image: ImageFacts) -> AttackOrder:
    """Return the order of a form; where it names no defense, the attack knows of none. Raises ProblemError."""
    attack = chosen_attack(form.attack)
    defense = None if form.defense is None else chosen_defense(form.defense)
    names = chosen_metrics(form.metric, "metric", most=1)
    if not names:
        raise field_problem(422, "metric", "missing", "name the metric to mislead")
    metric, size = find_metric(names[0]), (image.height, image.width)
    try:
        attack.check_metric(metric)
    except NoGradientError as error:
        raise field_problem(422, "metric", "no-gradient", str(error), actual=names[0]) from error
    try:
        attack.check_defense(defense)
    except DefenseMissingError as error:
        raise field_problem(422, "defense", "missing", str(error)) from error
    for field, check, seen in (
        ("attack", attack.check_size, size),
        ("metric", metric.check_size, size if defense is None else defense.output_size(size)),
    ):
        try:
            check(*seen)
        except UnsuitableSizeError as error:
            raise field_problem(422, field, "image-size-unsuitable", str(error)) from error
    return AttackOrder(attack=attack, defense=defense, metrics=(names[0],), seed=_seed(form))


def _seed(form: OrderForm) -> int:
    return secrets.randbelow(MAX_SEED + 1) if form.seed is None else form.seed


def chosen_attack(text: str) -> Attack:
    """Return the attack that a field names, usable here and for anybody. Raises ProblemError."""
    try:
        attack = parse_attack(text)
    except UnknownAttackError as error:
        told = UnknownAttackError(error.name, ORDERABLE)
        raise field_problem(
            422, "attack", "unknown-attack", str(told), suggestion=told.suggestion, actual=told.name[:80]
        ) from error
    except ValidationError as error:
        raise wrong_attack(error) from error
    except ValueError as error:
        raise field_problem(422, "attack", "invalid-attack", str(error)) from error
    if attack.is_local:  # before anything looks at the file that it names
        detail = f"{attack.name} reads a local file and cannot be ordered: run it there, with `purifiqa attack`"
        raise field_problem(422, "attack", "attack-not-orderable", detail, actual=attack.name)
    availability = attack.availability()
    if not availability.available:
        detail = f"{attack.name} cannot be used here: {availability.explanation}"
        raise field_problem(409, "attack", "attack-unavailable", detail, actual=attack.name)
    return attack


def wrong_attack(error: ValidationError) -> ProblemError:
    """Return the problem of parameters that an attack does not take."""
    kind = next(kind for kind in ATTACKS.values() if kind.__name__ == error.title)
    return invalid_fields(error, "attack", lambda _: kind.model_fields)


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


def chosen_metrics(text: str, field: str = "metrics", most: int = MAX_METRICS) -> tuple[str, ...]:
    """Return the metrics that a comma list in `field` names, each once, all usable here. Raises ProblemError."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(names) > most:
        detail = f"at most {most} metrics per order" if most > 1 else "exactly one metric per order"
        raise field_problem(422, field, "too-many", detail, limit=most, actual=len(names))
    for name in names:
        try:
            availability = find_metric(name).availability()
        except UnknownMetricError as error:
            raise field_problem(
                422, field, "unknown-metric", str(error), suggestion=error.suggestion, actual=name[:80]
            ) from error
        if not availability.available:
            detail = f"{name} cannot be used here: {availability.explanation}"
            raise field_problem(409, field, "metric-unavailable", detail, actual=name)
    return names
