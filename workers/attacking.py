"""Carry out an order to attack: always alone, with one thread, so that the image is the one that a study makes."""

import time
from collections.abc import Callable

from torch import Tensor

from models.attack_alone import attack_alone, score_attack
from models.metrics import find_metric
from models.progress import telling
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
    with tracer.start_as_current_span("score"):
        scores = score_attack(order.attack, image, done, metric, order.defense, order.seed)
    report = AttackReport(**facts.model_dump(), **told_of(name), **scores.model_dump())
    scoring = (time.perf_counter() - start) * 1000
    return report, file, {"attack": round(facts.seconds * 1000, 3), "score": round(scoring, 3)}
