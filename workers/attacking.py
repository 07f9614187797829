"""Carry out an order to attack: always alone, with one thread, so that the image is the one that a study makes."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from models.attack_alone import attack_alone
from models.defense import PurificationError
from models.metric import Metric, MetricError, UnsuitableSizeError
from models.metrics import find_metric
from models.progress import telling
from models.threads import one_thread
from workers.orders import AttackOrder
from workers.reports import AttackReport, told_of
from workers.spans import tracer

ATTACKING = 0.95
"""Its share of the fraction done; the scores before and after take the rest."""


def attack(
    order: AttackOrder, image: Tensor, progress: Callable[[float], None] = lambda _: None
) -> tuple[AttackReport, bytes, dict[str, float]]:
    """Attack an image, (1, 3, H, W); return what came of it, the attacked image as a PNG, and milliseconds by stage.

    `progress` is called with the fraction done, between steps; an exception from it ends the work.
    Raises as `Attack.run` does.
    """
    [name] = order.metrics
    metric = find_metric(name)
    with tracer.start_as_current_span("attack"), telling(lambda fraction: progress(fraction * ATTACKING)):
        done, file, facts = attack_alone(order.attack, image, metric, order.defense, order.seed)
    progress(ATTACKING)
    start = time.perf_counter()
    with tracer.start_as_current_span("score"), one_thread():
        plain = [_score(order, metric, one) for one in (image, done.images)]
        defended = [_score(order, metric, one, defended=True) for one in (image, done.images)]
    clean, attacked = plain if order.defense is None else defended
    gained = None if clean is None or attacked is None else order.attack.goal.sign(metric) * (attacked - clean)
    report = AttackReport(
        **facts.model_dump(),
        **told_of(name),
        clean=plain[0],
        attacked=plain[1],
        defended_clean=defended[0],
        defended_attacked=defended[1],
        gained=gained,
        budget=None if done.budget is None else int(done.budget.item()),
    )
    scoring = (time.perf_counter() - start) * 1000
    return report, file, {"attack": round(facts.seconds * 1000, 3), "score": round(scoring, 3)}


def _score(order: AttackOrder, metric: Metric, image: Tensor, *, defended: bool = False) -> float | None:
    """Return a score; None where there is none: an attack is done, whatever the metric says of what came of it."""
    if defended and order.defense is None:
        return None
    try:
        with torch.no_grad():
            seen = order.defense(image, order.seed) if defended and order.defense else image
            return float(metric(seen))
    except (MetricError, PurificationError, UnsuitableSizeError):
        return None
