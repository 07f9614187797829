"""What is done where an order names no defense and no metric: whether it exists, and whether it can be used."""

import logging

from pydantic import ValidationError

from models.defense import Defense
from models.defenses import parse_defense
from models.metrics import find_metric
from workers.settings import WorkerSettings

log = logging.getLogger("purifiqa.worker")


def check_defaults(settings: WorkerSettings) -> None:
    """Raise ValueError, with the variable's name, for a default that does not exist: the operator's to know at once."""
    try:
        variable = "PURIFIQA_DEFAULT_DEFENSE"
        parse_defense(settings.default_defense)
        variable = "PURIFIQA_DEFAULT_METRICS"
        for name in settings.default_metric_names:
            find_metric(name)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError(f"{variable}: {wrong}") from error
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from error


def usable_defaults(settings: WorkerSettings) -> tuple[Defense, tuple[str, ...]]:
    """Return the default defense, or `none` in its place, and those default metrics that can be used here.

    What cannot, because its weights are not here, is told in the log: orders that name others can be done all the same.
    """
    defense = parse_defense(settings.default_defense)
    if not (state := defense.availability()).available:
        log.warning("the default defense %s is not available: %s", defense.name, state.reason)
        defense = parse_defense("none")
    ready = []
    for name in settings.default_metric_names:
        if (state := find_metric(name).availability()).available:
            ready.append(name)
        else:
            log.warning("the default metric %s is not available: %s", name, state.reason)
    return defense, tuple(ready)
