"""Whether attacks show in the two scores of a picture, and what is left to those that do not."""

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from app.bench.cells import CLEAN, Cell
from app.bench.items import attack_of
from app.bench.parameters import Manifest
from app.bench.report.markdown import NOTHING, number, shown, significant, table
from models.attack import Attack, Goal
from models.evaluation.bootstrap import Mean, bootstrap_mean
from models.evaluation.cheating import climb
from models.evaluation.detection import FEWEST, is_caught, limits
from models.metrics import find_metric

ATTACKERS = ("ignores it", "through it", "through it, both scores")


class Check(NamedTuple):
    """What comparing the two scores catches of one kind of attackers, by one defense."""

    defense: str
    attacker: str
    """One of ATTACKERS."""
    honest: tuple[float, float]
    """Limits of the honest shifts."""
    false_alarms: Mean
    """Share of the honest pictures that are taken for attacked."""
    caught: Mean
    climb: Mean | None
    """Share of the other pictures that an attacked one passes; None: too few pictures."""
    climb_left: Mean | None
    """The same if those that are caught gain nothing."""
    by_attack: dict[str, float]
    """Share that is caught of the pictures of each attack."""
    shifts: tuple[list[float], list[float]]
    """Of the honest pictures and of the attacked ones."""


class _Scores(NamedTuple):
    """Two scores of a picture."""

    undefended: float
    defended: float

    @property
    def shift(self) -> float:
        return self.defended - self.undefended


def checks(manifest: Manifest, cells: Sequence[Cell], metric: str) -> list[Check]:
    """Return what each defense catches of the attacks that raise the claimed quality, a row per kind of attackers."""
    sign = find_metric(metric).card.sign
    raising = {attack.label: attack_of(attack) for attack in manifest.parameters.attacks}
    raising = {label: attack for label, attack in raising.items() if attack.goal is Goal.RAISE}
    found = []
    for defense in manifest.parameters.defenses:
        its = [cell for cell in cells if (cell.metric, cell.defense) == (metric, defense.label)]
        honest = {
            cell.image: _Scores(cell.measures["clean_score"], cell.measures["score"])
            for cell in its if cell.attack == CLEAN
        }  # fmt: skip
        attackers: dict[str, dict[str, dict[str, _Scores]]] = {}
        for cell in its:
            if cell.attack in raising and "attacked_score" in cell.measures and cell.image in honest:
                rows = attackers.setdefault(_attacker(cell, raising[cell.attack]), {})
                scores = _Scores(cell.measures["attacked_score"], cell.measures["score"])
                rows.setdefault(cell.attack, {})[cell.image] = scores
        for attacker in ATTACKERS:
            if defense.label != "none" and attacker in attackers and len(honest) > FEWEST:
                check = _check(defense.label, attacker, honest, attackers[attacker], sign)
                found += [check] if check else []
    return found


def _attacker(cell: Cell, attack: Attack) -> str:
    ignores, through, both = ATTACKERS
    if not cell.adaptive:
        return ignores
    return both if attack.both else through


def _check(
    defense: str, attacker: str, honest: dict[str, _Scores], attacked: dict[str, dict[str, _Scores]], sign: int
) -> Check | None:
    attacked = {label: row for label, row in attacked.items() if len(row) > FEWEST}
    pictures = [picture for picture in honest if all(picture in row for row in attacked.values())]
    if not attacked or len(pictures) <= FEWEST:
        return None
    before = [honest[picture].shift for picture in pictures]
    ranked = [sign * honest[picture].defended for picture in pictures]
    shifts, caught, rows, left, by_attack = [], [], [], [], {}
    for label, row in attacked.items():
        after = [row[picture].shift for picture in pictures]
        seen = is_caught(before, after)
        scores = [sign * row[picture].defended for picture in pictures]
        shifts += after
        caught += seen
        by_attack[label] = statistics.fmean(seen)
        rows.append(scores)
        left.append([own if is_seen else score for own, is_seen, score in zip(ranked, seen, scores, strict=True)])
    return Check(
        defense=defense,
        attacker=attacker,
        honest=limits(before),
        false_alarms=bootstrap_mean([float(one) for one in is_caught(before, before)], pictures),
        caught=bootstrap_mean([float(one) for one in caught], pictures * len(attacked)),
        climb=climb(ranked, rows),
        climb_left=climb(ranked, left),
        by_attack=by_attack,
        shifts=(before, shifts),
    )


def section(found: Sequence[Check]) -> Iterator[str]:
    """Yield what is caught, a row per defense and kind of attackers."""
    if not found:
        return
    yield "### Does an attack show in the two scores?\n"
    yield "The **shift** is the score behind the defense less that before it. *Honest* are the limits between which 95"
    yield "of 100 pictures lie that nobody attacked. An attacked one is **caught** if its shift lies outside; false"
    yield "alarms are honest ones outside the limits of the others. **Climb** is the share of the other pictures that"
    yield "an attacked one passes, by defended scores; *left* is what remains if those that are caught gain nothing."
    yield "The attackers ignore the defense, go through it, or raise both scores alike (`both=true`).\n"
    rows = [
        [one.defense, one.attacker, " to ".join(significant(limit, 3) for limit in one.honest), shown(one.false_alarms),
         shown(one.caught), shown(one.climb), shown(one.climb_left), str(one.caught.n)]
        for one in found
    ]  # fmt: skip
    header = ("defense", "attacker", "honest", "false alarms ↓", "caught ↑", "climb ↓", "climb left ↓", "n")
    yield from table(header, rows)
    labels = list(dict.fromkeys(label for one in found for label in one.by_attack))
    if labels[1:]:
        yield "Share that is caught of each attack:\n"
        yield from table(
            ("defense", "attacker", *labels),
            [
                [
                    one.defense,
                    one.attacker,
                    *(number(one.by_attack[label], 2) if label in one.by_attack else NOTHING for label in labels),
                ]
                for one in found
            ],
        )
