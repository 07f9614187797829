"""Means over pictures and attacks, with their intervals, for tables and plots."""

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.bench.cells import CLEAN, Cell
from app.bench.parameters import Parameters
from app.bench.presets import group_of
from models.evaluation.bootstrap import Mean, bootstrap_mean
from models.evaluation.correlation import srocc


class Row(NamedTuple):
    """A defense against all attacks on a metric; None: nothing was measured."""

    defense: str
    gain: Mean | None
    aligned_quality: Mean | None
    quality: Mean | None
    similarity: Mean | None
    clean_shift: Mean | None
    clean_quality: Mean | None
    """Aligned quality of the clean picture."""
    srocc_clean: float | None
    """Of the scores of clean pictures, undefended and defended."""
    srocc_attacked: float | None
    """Of the scores of clean pictures and of defended attacked ones, mean over the attacks."""
    milliseconds: float | None
    """Median time of the defense per picture."""


def rows(cells: Sequence[Cell], parameters: Parameters, metric: str, *, adaptive: bool) -> list[Row]:
    """Return a row per defense, the best Gain first; `none` is the undefended one."""
    of_metric = [cell for cell in cells if cell.metric == metric]
    clean = [cell for cell in of_metric if cell.attack == CLEAN]
    attacked = [cell for cell in of_metric if cell.attack != CLEAN and cell.adaptive == adaptive]
    found = []
    for defense in parameters.defenses:
        its, its_clean = _by(attacked, defense.label), _by(clean, defense.label)
        if adaptive and not its:
            continue
        ranks = [_srocc([cell for cell in its if cell.attack == attack.label]) for attack in parameters.attacks]
        times = [cell.measures["ms"] for cell in (*its, *its_clean)]
        found.append(
            Row(
                defense=defense.label,
                gain=mean(its, "gain"),
                aligned_quality=mean(its, "aligned_quality"),
                quality=mean(its, "quality"),
                similarity=mean(its, "similarity"),
                clean_shift=mean(its_clean, "clean_shift"),
                clean_quality=mean(its_clean, "aligned_quality"),
                srocc_clean=_srocc(its_clean),
                srocc_attacked=_mean_of(ranks),
                milliseconds=statistics.median(times) if times else None,
            )
        )
    return sorted(found, key=lambda row: float("inf") if row.gain is None else row.gain.value)


def mean(cells: Iterable[Cell], measure: str) -> Mean | None:
    """Return the mean of a measure with its interval; None: no cell has it."""
    found = [(cell.measures[measure], cell.image) for cell in cells if measure in cell.measures]
    return bootstrap_mean([value for value, _ in found], [image for _, image in found]) if found else None


def grouped(
    cells: Sequence[Cell], parameters: Parameters, metric: str, *, adaptive: bool, by_group: bool
) -> dict[str, dict[str, Mean]]:
    """Return the mean Gain by attack, or group of attacks, and defense; what was not measured is absent."""

    def name(label: str) -> str:
        return group_of(label.partition("(")[0]) if by_group else label

    groups = list(dict.fromkeys(name(attack.label) for attack in parameters.attacks))
    found: dict[str, dict[str, Mean]] = {}
    its = [cell for cell in cells if cell.metric == metric and cell.attack != CLEAN and cell.adaptive == adaptive]
    for group in groups:
        in_group = [cell for cell in its if name(cell.attack) == group]
        means = {defense.label: mean(_by(in_group, defense.label), "gain") for defense in parameters.defenses}
        if some := {label: one for label, one in means.items() if one is not None}:
            found[group] = some
    return found


def is_on_front(one: tuple[Mean, Mean], others: Iterable[tuple[Mean, Mean]]) -> bool:
    """Return whether none of the others has a Gain as low and a quality as high, and one of the two better."""
    mine = (-one[0].value, one[1].value)
    theirs = [(-gain.value, quality.value) for gain, quality in others]
    return not any(two != mine and two[0] >= mine[0] and two[1] >= mine[1] for two in theirs)


def _by(cells: Iterable[Cell], defense: str) -> list[Cell]:
    return [cell for cell in cells if cell.defense == defense]


def _srocc(cells: Sequence[Cell]) -> float | None:
    if not cells:
        return None
    value = srocc([cell.measures["clean_score"] for cell in cells], [cell.measures["score"] for cell in cells])
    return None if value != value else value


def _mean_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
