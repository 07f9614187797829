"""Do a piece of a study: attack a picture, purify, score, compare; step by step, each kept as soon as it is done."""

import contextlib
import functools
import itertools
import statistics
import time
import traceback
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from app.bench.folder import AttackRecord, FailureRecord, Folder, NotKeptError, UnscoredRecord, write_whole
from app.bench.items import Item, attack_of, metric_of
from app.bench.measure import Purified, measure
from app.bench.units import ATTACK, Unit
from models.attack_alone import attack_alone
from models.defense import Defense
from models.defenses import parse_defense
from models.images import ImageFormat, encode
from models.metric import MetricError, UnsuitableSizeError
from models.metrics import find_metric
from models.noise import derive_seed

FAILURES = (RuntimeError, ValueError, OSError, MemoryError)
"""What a step may raise by itself: all that attacks, defenses and metrics say, and no memory. Else it is a mistake."""
NO_SCORE = (MetricError, UnsuitableSizeError)
"""What a metric raises that has no score for an image; others may have one."""
_WARM_UP_SIDE = 64


@dataclass(frozen=True)
class Begun:
    """A step is being done."""

    step: str


@dataclass(frozen=True)
class Ended:
    """A step is done, or was found to be impossible."""

    step: str
    seconds: float
    failed: bool


def perform(unit: Unit, folder: Folder, device: str, left_out: Collection[str] = ()) -> Iterator[Begun | Ended]:
    """Do the steps of `unit` that are not finished and not `left_out`, and tell of each before and after.

    A step that fails is recorded as failed; without its attack a unit ends. Raises NotKeptError.
    """
    finished = folder.finished(unit)
    if finished.keys() >= set(unit.steps):
        return
    clean = folder.read_clean(unit).to(device)
    image = clean
    for step in unit.steps:
        if step in left_out:
            if step == ATTACK:
                return
            continue
        if step in finished and step != ATTACK:
            continue
        if step in finished:
            image = folder.read_attacked(unit).to(device)
            continue
        yield Begun(step)
        start, failed = time.perf_counter(), False
        try:
            if step == ATTACK:
                image = _attack(unit, folder, clean)
            else:
                defense = next(one for one in unit.defenses if one.label == step)
                _defend(unit, folder, defense, clean, image)
        except NotKeptError:
            raise
        except Exception as error:  # noqa: BLE001 - what somebody adds may make any mistake
            if not isinstance(error, FAILURES):
                traceback.print_exc()
            failed, why = True, " ".join([f"{type(error).__name__}: {error}"[:1000], *getattr(error, "__notes__", ())])
            is_unscored = step == ATTACK and isinstance(error, NO_SCORE)
            folder.append(unit, UnscoredRecord(why=why) if is_unscored else FailureRecord(step=step, why=why))
        yield Ended(step, time.perf_counter() - start, failed)
        if failed and step == ATTACK:
            return


def _attack(unit: Unit, folder: Folder, clean: Tensor) -> Tensor:
    if unit.attack is None:
        raise ValueError("a clean picture is not attacked")
    through = None if unit.through is None else _warm(unit.through.json_text, clean.device)
    _warm_metric(unit.metrics[0].label, clean.device)
    done, file, facts = attack_alone(
        attack_of(unit.attack), clean, metric_of(unit.metrics[0]), through, unit.picture.seed
    )
    write_whole(folder.attacked_picture(unit), file)
    undefended = None
    if through is not None:  # where the attack ignores every defense, `none` is one of those that follow
        with torch.no_grad():
            undefended = _scores(unit, [done.images])[0].get(unit.metrics[0].label)
    folder.append(unit, AttackRecord(**facts.model_dump(), undefended=undefended))
    return done.images


def _defend(unit: Unit, folder: Folder, item: Item, clean: Tensor, image: Tensor) -> None:
    defense, seed = _warm(item.json_text, clean.device), unit.picture.seed
    with torch.no_grad():
        _wait(image)
        start = time.perf_counter()
        purified = defense(image, seed)
        _wait(image)
        seconds = time.perf_counter() - start
        more = [derive_seed(seed, index) for index in range(1, unit.samples if defense.is_stochastic else 1)]
        scores, unscored = _scores(unit, itertools.chain([purified], (defense(image, one) for one in more)))
    done = Purified(encode(purified.cpu(), ImageFormat.PNG), scores, unscored, seconds)
    folder.append(unit, measure(unit, folder, item, clean.cpu(), done))


def _scores(unit: Unit, samples: Iterable[Tensor]) -> tuple[dict[str, float], dict[str, str]]:
    """Return the median score of what several seeds made, by metric, and why a metric has none."""
    told: dict[str, list[float]] = {metric.label: [] for metric in unit.metrics}
    unscored: dict[str, str] = {}
    for image in samples:
        for metric in (one for one in unit.metrics if one.label not in unscored):
            try:
                told[metric.label].append(float(metric_of(metric)(image)))
            except NO_SCORE as error:
                unscored[metric.label] = f"{type(error).__name__}: {error}"[:1000]
            except Exception as error:
                error.add_note(f"(in the metric {metric.label})")
                raise
    return {label: statistics.median(scores) for label, scores in told.items() if label not in unscored}, unscored


@functools.cache
def _warm(json_text: str, device: torch.device) -> Defense:
    """Return a defense that has been called once, so that the time of its first call is not that of loading it."""
    defense = parse_defense(json_text)
    defense(torch.full((1, 3, _WARM_UP_SIDE, _WARM_UP_SIDE), 0.5, device=device))
    return defense


@functools.cache
def _warm_metric(label: str, device: torch.device) -> None:
    """Let a metric be loaded, so that the time of the first attack on it is not that; whether it has a score or not."""
    metric = find_metric(label)
    side = max(_WARM_UP_SIDE, metric.card.min_side)
    with torch.no_grad(), contextlib.suppress(*NO_SCORE):
        metric(torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device))


def _wait(images: Tensor) -> None:
    if images.device.type == "cuda":
        torch.cuda.synchronize()
