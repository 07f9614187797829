"""What one attacked picture gains in rank among honest ones, before and behind each defense."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from app.bench.cells import CLEAN, Cell
from app.bench.parameters import Apart, Manifest
from app.bench.report.markdown import plain, shown, table
from app.bench.report.wins import on_the_same
from models.attack import Goal
from models.evaluation.bootstrap import Mean
from models.evaluation.cheating import FEWEST, climb, in_order
from models.metrics import find_metric


class Ranked(NamedTuple):
    """Pictures that were measured under every condition, honest and attacked."""

    pictures: list[str]
    honest: list[float]
    attacked: list[list[float]]
    """A row per attack."""

    def only(self, opinions: Mapping[str, float]) -> "Ranked":
        """Return those that there are opinions on."""
        kept = [place for place, picture in enumerate(self.pictures) if picture in opinions]
        columns = [[row[place] for place in kept] for row in (*self.attacked, self.honest)]
        return Ranked([self.pictures[place] for place in kept], columns.pop(), columns)


class Standing(NamedTuple):
    """What cheating is worth behind a defense."""

    defense: str
    climb: Mean
    before: Mean | None
    """The same over the attacks and pictures of `through` only."""
    through: Mean | None
    """Of attacks that go through it and were also made without knowing of it; None: there were none."""
    honest: Mean | None
    """Share of pairs in the order of the opinions; None: there are none."""
    cheated: Mean | None
    """The same while the worse one of a pair cheats."""


def standings(manifest: Manifest, cells: Sequence[Cell], metric: str) -> list[Standing]:
    """Return what cheating is worth behind each defense, least first, those measured on fewer pictures last."""
    parameters, opinions = manifest.parameters, manifest.opinions
    sign = find_metric(metric).card.sign
    wanted, _ = _made(manifest, cells, metric)
    found: list[Standing] = []
    for defense in parameters.defenses:
        its = [cell for cell in cells if (cell.metric, cell.defense) == (metric, defense.label)]
        plain = _ranked(its, sign, wanted, adaptive=False)
        climb = _climb(plain)
        if climb is not None:
            sides = _both_ways(its, sign, wanted)
            found.append(Standing(defense.label, climb, *sides, *_orders(plain.only(opinions), opinions)))
    return sorted(found, key=lambda one: (-one.climb.n, one.climb.value))


def unmade(manifest: Manifest, cells: Sequence[Cell], metric: str) -> list[str]:
    """Return the attacks that would count if they were measured on enough pictures."""
    return _made(manifest, cells, metric)[1]


def cheats(found: Sequence[Standing], unmade: Sequence[str] = ()) -> Iterator[str]:
    """Yield by how many of the others a picture climbs that alone is attacked, for each defense.

    `unmade` names the attacks that are left out because they were measured on too few pictures.
    """
    if len(found) < 2:
        return
    is_adaptive, has_opinions = any(one.through for one in found), any(one.honest for one in found)
    yield "### One picture cheats\n"
    yield "Each picture in turn is the only attacked one; all are purified and ranked. **Climb** is the share of the"
    yield "other pictures that it passes, as a mean over the attacks that raise the claimed quality. 0 means that"
    yield "cheating does not pay. n is the number of pictures measured under every attack; rows with fewer come last."
    if has_opinions:
        yield "**In order** is the share of pairs of pictures that the scores put in the same order as the opinions:"
        yield "while all are honest, and while the worse one of the two cheats."
    if unmade:
        yield f"Left out, because measured on fewer than {FEWEST} pictures: {plain(', '.join(unmade))}."
    yield ""
    header, rows = ["defense", "climb ↓"], [[one.defense, shown(one.climb)] for one in found]
    if any(one.through and one.before != one.climb for one in found):
        header += ["climb, same attacks ignore it ↓"]
        rows = [[*row, shown(one.before)] for row, one in zip(rows, found, strict=True)]
    if is_adaptive:
        header += ["climb, attacks through it ↓"]
        rows = [[*row, shown(one.through)] for row, one in zip(rows, found, strict=True)]
    if has_opinions:
        header += ["in order, all honest ↑", "in order, the worse cheats ↑"]
        rows = [[*row, shown(one.honest), shown(one.cheated)] for row, one in zip(rows, found, strict=True)]
    yield from table([*header, "n"], [[*row, str(one.climb.n)] for row, one in zip(rows, found, strict=True)])


def _made(manifest: Manifest, cells: Sequence[Cell], metric: str) -> tuple[list[str], list[str]]:
    """Return the attacks that raise the quality this metric claims and know of no defense: those measured, the rest.

    One that was measured on too few pictures for a rank would leave no picture that was measured under every attack.
    """
    parameters = manifest.parameters
    paired = {pair.attack for pair in parameters.pairs if pair.metric == metric}
    raising = [one.label for one in parameters.attacks if one.about["goal"] == Goal.RAISE and one.label in paired]
    wanted = [label for label in raising if Apart(attack=label, defense="none") not in parameters.apart]
    pictures = {(cell.attack, cell.image) for cell in cells if cell.metric == metric and not cell.adaptive}
    counts = Counter(attack for attack, _ in pictures)
    measured = {attack for attack, count in counts.items() if count >= FEWEST}
    return [label for label in wanted if label in measured], [label for label in wanted if label not in measured]


def _ranked(cells: Sequence[Cell], sign: int, attacks: Sequence[str], *, adaptive: bool) -> Ranked:
    """Return the pictures that were measured honest and under every one of the attacks."""
    honest = {cell.image: sign * cell.measures["score"] for cell in cells if cell.attack == CLEAN}
    attacked: dict[str, dict[str, float]] = {label: {} for label in attacks}
    for cell in cells:
        if cell.attack in attacked and cell.adaptive == adaptive:
            attacked[cell.attack][cell.image] = sign * cell.measures["score"]
    pictures = [picture for picture in honest if all(picture in row for row in attacked.values())]
    rows = [[row[picture] for picture in pictures] for row in attacked.values()]
    return Ranked(pictures, [honest[picture] for picture in pictures], rows)


def _both_ways(cells: Sequence[Cell], sign: int, attacks: Sequence[str]) -> tuple[Mean | None, Mean | None]:
    """Return the climb without and with knowing of the defense, over the pictures and attacks that have both."""
    honest = [cell for cell in cells if cell.attack == CLEAN]
    sides = [
        [cell for cell in cells if cell.attack in attacks and cell.adaptive == adaptive] for adaptive in (False, True)
    ]
    without, through = on_the_same(*sides)
    shared = [label for label in attacks if any(cell.attack == label for cell in through)]
    return (
        _climb(_ranked([*honest, *without], sign, shared, adaptive=False)),
        _climb(_ranked([*honest, *through], sign, shared, adaptive=True)),
    )


def _climb(ranked: Ranked) -> Mean | None:
    return climb(ranked.honest, ranked.attacked) if ranked.attacked else None


def _orders(ranked: Ranked, opinions: Mapping[str, float]) -> tuple[Mean | None, Mean | None]:
    if not opinions:
        return None, None
    told = [opinions[picture] for picture in ranked.pictures]
    return in_order(told, ranked.honest, [ranked.honest]), in_order(told, ranked.honest, ranked.attacked)
