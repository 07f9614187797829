"""Reasons to doubt a study's own numbers: attacks that may be weaker than they could be."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

import torch

from app.bench.cells import CLEAN, Cell
from app.bench.items import attack_of, metric_of
from app.bench.parameters import Parameters
from models.attack import Attack
from models.attack_checks import Flag, check_black_box, check_defense, check_effect, check_gradients
from models.defenses import parse_defense
from models.evaluation.fidelity import PSNR_OF_EQUAL

WEAKER = 0.9
"""An attack through a defense that does less than this share of the one that knows of none has not found its way."""

NEAR_ZERO = 0.2
"""A clean score nearer to zero than this share of the mean size of all counts many times where it is divided by."""

CLEAN_NEAR_ZERO, WEAKER_THAN_TRANSFER = "clean-score-near-zero", "weaker-than-transfer"
CHANGES_NOTHING = "changes-nothing"
"""Doubts that only a study can have, beside those of `Code`; docs/attacks.md explains all."""

Place = tuple[str, str, str, bool]
"""Metric, attack, defense, and whether the attack went through it."""
Doubt = tuple[str, str, str, str, str]
"""Metric, attack, defense that it goes through, code, and why."""


def doubts(parameters: Parameters, cells: Sequence[Cell]) -> Iterator[Doubt]:
    """Yield what is to be doubted about each attack, alone and through a defense, where it was run."""
    by_place: dict[Place, list[Cell]] = {}
    for cell in cells:
        if cell.attack != CLEAN:
            by_place.setdefault((cell.metric, cell.attack, cell.defense, cell.adaptive), []).append(cell)
    attacks = {item.label: attack_of(item) for item in parameters.attacks}
    metrics = {item.label: metric_of(item) for item in parameters.metrics}
    defenses = {item.label: parse_defense(item.json_text) for item in parameters.defenses}
    for metric in metrics:
        for defense in defenses:
            yield from _near_zero(metric, defense, cells)
            yield from _unchanged(metric, defense, cells)
    for (metric, label, through, adaptive), its in by_place.items():
        if not adaptive and through != "none":
            continue
        attack = attacks[label]
        sign = attack.goal.sign(metrics[metric])
        flags = check_effect(_gained(its, sign))
        if attack.white_box:
            slopes = torch.tensor([cell.measures.get("first_slope", torch.nan) for cell in its])
            flags += check_gradients(slopes)
        if adaptive:
            flags += check_defense(attack, defenses[through])
        flags += _beaten(attacks, by_place, (metric, label, through, adaptive), sign)
        named = through if adaptive else "nothing"
        if same := sum(cell.measures.get("linf") == 0 for cell in its):
            why = f"{same} of {len(its)} attacked pictures equal the clean ones, which raises the mean PSNR and quality"
            yield metric, label, named, CHANGES_NOTHING, why
        yield from ((metric, label, named, str(flag.code), flag.message) for flag in flags)
        if adaptive:
            transfer = by_place.get((metric, label, through, False), [])
            yield from _weaker((metric, label, through), its, transfer, sign)


def _gained(cells: Sequence[Cell], sign: int) -> torch.Tensor:
    """Return how far each score went the attacker's way, (N,), from that of the clean picture equally defended."""
    changes = [cell.measures["score"] - cell.measures["defended_clean_score"] for cell in cells if _has_both(cell)]
    return sign * torch.tensor(changes)


def _near_zero(metric: str, defense: str, cells: Sequence[Cell]) -> Iterator[Doubt]:
    """Tell of pictures whose clean score is near zero or of another sign than most.

    Gain and shift divide by the undefended one, movement by the defended one.
    """
    its = [cell for cell in cells if (cell.metric, cell.defense) == (metric, defense) and _has_both(cell)]
    clean = {cell.image: cell.measures["defended_clean_score"] for cell in its}
    least = NEAR_ZERO * sum(map(abs, clean.values())) / max(1, len(clean))
    side = 1 if sum(score > 0 for score in clean.values()) * 2 >= len(clean) else -1
    few = sum(side * score <= least for score in clean.values())
    if few:
        which = f"the clean score of {few} of {len(clean)} pictures"
        if defense == "none":
            why = f"{which} is near 0 or of the other sign; the mean Gain, which divides by it, means little"
            yield metric, "all", "nothing", CLEAN_NEAR_ZERO, why
        else:
            why = f"{which} behind it is near 0 or of the other sign; the mean movement, divided by it, means little"
            yield metric, "all", defense, CLEAN_NEAR_ZERO, why


def _unchanged(metric: str, defense: str, cells: Sequence[Cell]) -> Iterator[Doubt]:
    """Tell of pictures that a defense hands out as they came, as a crop does with those that are no larger."""
    if defense == "none":
        return
    its = [cell for cell in cells if (cell.metric, cell.attack, cell.defense) == (metric, CLEAN, defense)]
    same = sum(cell.measures["psnr"] == PSNR_OF_EQUAL for cell in its)
    if same:
        yield (
            metric,
            "all",
            defense,
            CHANGES_NOTHING,
            f"{same} of {len(its)} clean pictures are not changed by it at all",
        )


def _has_both(cell: Cell) -> bool:
    return "defended_clean_score" in cell.measures


def _beaten(
    attacks: Mapping[str, Attack], by_place: Mapping[Place, Sequence[Cell]], place: Place, sign: int
) -> list[Flag]:
    """Flag a black-box attack that does more than every one with gradients that changed values at least as far.

    Each pair of attacks, alone or through the same defense, is compared on the pictures that both were made on.
    """
    metric, black, through, adaptive = place
    if attacks[black].white_box or attacks[black].universal:
        return []
    flags: list[Flag] = []
    for label, attack in attacks.items():
        others = by_place.get((metric, label, through, adaptive), [])
        white, its = _shared(others, by_place[place])
        if not (attack.white_box and attack.goal == attacks[black].goal and its):
            continue
        if max(cell.measures["linf"] for cell in white) >= max(cell.measures["linf"] for cell in its):
            found = check_black_box(_gained(white, sign), _gained(its, sign))
            if not found:
                return []
            flags = flags or found
    return flags


def _shared(ones: Sequence[Cell], others: Sequence[Cell]) -> tuple[list[Cell], list[Cell]]:
    """Return the cells of either side whose pictures the other side has too."""
    images = {cell.image for cell in ones if _has_both(cell)} & {cell.image for cell in others if _has_both(cell)}
    mine, theirs = ([cell for cell in cells if cell.image in images] for cells in (ones, others))
    return mine, theirs


def _weaker(
    place: tuple[str, str, str], adaptive: Sequence[Cell], transfer: Sequence[Cell], sign: int
) -> Iterator[Doubt]:
    """Tell of an attack through a defense that moves the defended score less its way than one that knows of none."""
    one, other = (_moved_its_way(cells, sign) for cells in _shared(adaptive, transfer))
    if one is not None and other is not None and one < min(WEAKER * other, other):
        why = f"it moves the defended score its way by {one:.3g}; when it ignores the defense, by {other:.3g}"
        yield *place, WEAKER_THAN_TRANSFER, why


def _moved_its_way(cells: Sequence[Cell], sign: int) -> float | None:
    """Return the mean movement, below 0 where it went against the attacker; None: nothing was measured."""
    pairs = zip(cells, _gained(cells, sign).tolist(), strict=True)
    moved = [math.copysign(one.measures["movement"], gained) for one, gained in pairs if "movement" in one.measures]
    return statistics.fmean(moved) if moved else None
