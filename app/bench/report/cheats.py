"""What one attacked picture gains in rank among honest ones, before and behind each defense."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from app.bench.cells import CLEAN, Cell
from app.bench.items import metric_of
from app.bench.parameters import Apart, Manifest
from app.bench.report.markdown import shown, table
from models.attack import Goal
from models.evaluation.bootstrap import Mean
from models.evaluation.cheating import climb, in_order

Scores = Mapping[str, float]
"""By picture; higher is better."""


class Ranked(NamedTuple):
    """Pictures that were measured under every condition, honest and attacked."""

    pictures: list[str]
    honest: list[float]
    attacked: list[list[float]]
    """A row per attack."""

    def only(self, opinions: Mapping[str, float]) -> "Ranked":
        """Return those that there are opinions on."""
        kept = [place for place, picture in enumerate(self.pictures) if picture in opinions]
        columns = [[row[place] for place in kept] for row in ([*self.attacked, self.honest])]
        return Ranked([self.pictures[place] for place in kept], columns.pop(), columns)


def cheats(manifest: Manifest, cells: Sequence[Cell], metric: str) -> Iterator[str]:
    """Yield by how many of the others a picture climbs that alone is attacked, for each defense."""
    parameters, opinions = manifest.parameters, manifest.opinions
    item = next(one for one in parameters.metrics if one.label == metric)
    sign = 1 if metric_of(item).card.higher_is_better else -1
    wanted = [attack.label for attack in parameters.attacks if attack.about["goal"] == Goal.RAISE]
    found = [cell for cell in cells if cell.metric == metric]
    is_adaptive = any(cell.adaptive for cell in found)
    rows: list[tuple[Mean, list[str]]] = []
    for defense in parameters.defenses:
        its = [cell for cell in found if cell.defense == defense.label]
        through = [label for label in wanted if Apart(attack=label, defense=defense.label) not in parameters.apart]
        plain = _ranked(its, sign, wanted, adaptive=False)
        told = [_climb(plain), *([_climb(_ranked(its, sign, through, adaptive=True))] if is_adaptive else [])]
        if told[0] is not None:
            told += _orders(plain.only(opinions), opinions) if opinions else []
            rows.append((told[0], [defense.label, *map(shown, told), str(told[0].n)]))
    if len(rows) < 2:
        return
    yield "### One picture cheats\n"
    yield "Each picture in turn is the only one that is attacked, while all are purified and ranked. It climbs past"
    yield "this share of the others, the mean over attacks that raise the claimed quality; 0: cheating does not pay. n"
    yield "counts the pictures that were measured under every attack; rows with fewer come last."
    if opinions:
        yield "In order: of the pairs of pictures that opinions put in an order, the share that scores put in the same,"
        yield "while nobody cheats, and while the worse one of the two does."
    yield ""
    header = ["defense", "climb ↓", *(["climb, attack goes through ↓"] if is_adaptive else [])]
    header += ["in order, all honest ↑", "in order, the worse cheats ↑"] if opinions else []
    rows.sort(key=lambda row: (-row[0].n, row[0].value))
    yield from table([*header, "n"], [cells for _, cells in rows])


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


def _climb(ranked: Ranked) -> Mean | None:
    return climb(ranked.honest, ranked.attacked) if ranked.attacked else None


def _orders(ranked: Ranked, opinions: Mapping[str, float]) -> list[Mean | None]:
    told = [opinions[picture] for picture in ranked.pictures]
    sides = ([ranked.honest], ranked.attacked)
    return [in_order(told, ranked.honest, side) for side in sides]
