"""One image attacked as the service and a study do it: timed, as a file, and with the facts that are kept."""

import math
import time
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from models.attack import Attack, Attacked
from models.defense import Defense, PurificationError
from models.images import ImageFormat, encode
from models.metric import Metric, MetricError, UnsuitableSizeError
from models.threads import one_thread


class AttackFacts(BaseModel):
    """What an attack did to an image."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(description="Seconds that the attack took.")
    queries: int = Field(description="How often the attack scored the image.")
    linf: int = Field(description="Largest change of a value, in 8-bit levels.")
    first_slope: float | None = Field(
        description="Sum of the magnitudes of the first gradient; null: the attack used none."
    )


class AttackScores(BaseModel):
    """What an attack did to a metric's score. A score is null where the metric has none."""

    clean: float | None = Field(description="Score of the original image.")
    attacked: float | None = Field(description="Score of the attacked image.")
    defended_clean: float | None = Field(description="Score of the purified original; null without a defense.")
    defended_attacked: float | None = Field(description="Score of the purified attacked image; null without a defense.")
    gained: float | None = Field(
        description="How far the score, behind the defense if there is one, moved the attacker's way; with `both` the "
        "lesser of both scores' moves."
    )
    budget: int | None = Field(
        description="Largest change that the attack allows, in 8-bit levels; null: no such limit."
    )


class AttackedImage(NamedTuple):
    """An image after an attack."""

    done: Attacked
    file: bytes
    """The attacked image as a PNG, which keeps every value."""
    facts: AttackFacts


def attack_alone(attack: Attack, image: Tensor, metric: Metric, defense: Defense | None, seed: int) -> AttackedImage:
    """Attack an image, (1, 3, H, W), with one thread: so the result does not depend on where that is done.

    Raises as `Attack.run` does.
    """
    start = time.perf_counter()
    with one_thread():
        done = attack.run(image, metric, defense, seed)
    if image.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    slope = done.first_slope.item()
    facts = AttackFacts(
        seconds=seconds,
        queries=int(done.queries.item()),
        linf=int(((done.images - image) * 255).round().abs().max().item()),
        first_slope=slope if math.isfinite(slope) else None,
    )
    return AttackedImage(done, encode(done.images.cpu(), ImageFormat.PNG), facts)


def score_attack(
    attack: Attack, image: Tensor, done: Attacked, metric: Metric, defense: Defense | None, seed: int
) -> AttackScores:
    """Score an image, (1, 3, H, W), and what an attack made of it, with one thread; purified with the same seed."""
    both = (image, done.images)
    with one_thread():
        clean, attacked = (_score(metric, one) for one in both)
        defended = [None if defense is None else _score(metric, one, defense, seed) for one in both]
    moves = [_moved(attack.goal.sign(metric), *((clean, attacked) if defense is None else defended))]
    if attack.both:
        moves.append(_moved(attack.goal.sign(metric), clean, attacked))
    return AttackScores(
        clean=clean,
        attacked=attacked,
        defended_clean=defended[0],
        defended_attacked=defended[1],
        gained=None if None in moves else min(move for move in moves if move is not None),
        budget=None if done.budget is None else int(done.budget.item()),
    )


def _moved(sign: int, before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else sign * (after - before)


def _score(metric: Metric, image: Tensor, defense: Defense | None = None, seed: int = 0) -> float | None:
    """Return a score; None where there is none: an attack is done, whatever the metric says of what came of it."""
    try:
        with torch.no_grad():
            return float(metric(image if defense is None else defense(image, seed)))
    except (MetricError, PurificationError, UnsuitableSizeError):
        return None
