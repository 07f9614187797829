"""What one attacked picture gains in rank among honest ones, before and behind each defense."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from app.bench.cells import CLEAN, Cell
from app.bench.items import metric_of
from app.bench.markdown import shown, table
from app.bench.parameters import Manifest
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
    wanted = {CLEAN, *(attack.label for attack in parameters.attacks if attack.about["goal"] == Goal.RAISE)}
    found = [cell for cell in cells if cell.metric == metric and cell.attack in wanted]
    rows, is_adaptive = [], any(cell.adaptive for cell in found)
    for defense in parameters.defenses:
        its = [cell for cell in found if cell.defense == defense.label]
        plain, through = (_ranked(its, sign, adaptive=adaptive) for adaptive in (False, True))
        climbs = [_climb(plain), *([_climb(through)] if is_adaptive else [])]
        orders = _orders(plain.only(opinions), opinions) if plain and opinions else [None, None]
        if climbs[0] is not None:
            rows.append((climbs, orders if opinions else [], defense.label))
    if len(rows) < 2:
        return
    yield "### One picture cheats\n"
    yield "Each picture in turn is the only one that is attacked, while all are purified and ranked. It climbs past"
    yield "this share of the others, the mean over attacks that raise the claimed quality; 0: cheating does not pay."
    if opinions:
        yield "In order: of the pairs of pictures that opinions put in an order, the share that scores put in the same,"
        yield "while nobody cheats, and while the worse one of the two does."
    yield ""
    header = ["defense", "climb ↓", *(["climb, attack goes through ↓"] if is_adaptive else [])]
    header += ["in order, all honest ↑", "in order, the worse cheats ↑"] if opinions else []
    rows.sort(key=lambda row: row[0][0].value if row[0][0] else 1.0)
    yield from table(header, [[label, *map(shown, (*climbs, *orders))] for climbs, orders, label in rows])


def _ranked(cells: Sequence[Cell], sign: int, *, adaptive: bool) -> Ranked | None:
    honest: dict[str, float] = {}
    attacked: dict[str, dict[str, float]] = {}
    for cell in cells:
        if cell.attack == CLEAN:
            honest[cell.image] = sign * cell.measures["score"]
        elif cell.adaptive == adaptive:
            attacked.setdefault(cell.attack, {})[cell.image] = sign * cell.measures["score"]
    if not attacked:
        return None
    pictures = [picture for picture in honest if all(picture in row for row in attacked.values())]
    rows = [[row[picture] for picture in pictures] for row in attacked.values()]
    return Ranked(pictures, [honest[picture] for picture in pictures], rows)


def _climb(ranked: Ranked | None) -> Mean | None:
    return climb(ranked.honest, ranked.attacked) if ranked else None


def _orders(ranked: Ranked, opinions: Mapping[str, float]) -> list[Mean | None]:
    told = [opinions[picture] for picture in ranked.pictures]
    sides = ([ranked.honest], ranked.attacked)
    return [in_order(told, ranked.honest, side) for side in sides]
