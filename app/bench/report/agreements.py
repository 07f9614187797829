"""How well the scores of each defense keep to what people said of the pictures."""

from collections.abc import Iterator, Mapping, Sequence

from app.bench.cells import CLEAN, Cell
from app.bench.opinions import FEWEST
from app.bench.parameters import Manifest
from app.bench.report.markdown import NOTHING, shown, table
from models.evaluation.correlation import agreement
from models.metrics import find_metric


def agreements(manifest: Manifest, cells: Sequence[Cell], metric: str) -> Iterator[str]:
    """Yield how well the scores of each defense follow the opinions, on clean and on attacked pictures."""
    opinions = manifest.opinions
    if not opinions:
        return
    parameters = manifest.parameters
    sign = find_metric(metric).card.sign
    attacks = [attack.label for attack in parameters.attacks]
    rows = []
    for defense in parameters.defenses:
        its = [
            cell for cell in cells
            if (cell.metric, cell.defense, cell.adaptive) == (metric, defense.label, False) and cell.image in opinions
        ]  # fmt: skip
        by_attack = {
            attack: {cell.image: sign * cell.measures["score"] for cell in its if cell.attack == attack}
            for attack in (CLEAN, *attacks)
        }
        sides = [{CLEAN: by_attack.pop(CLEAN)}, by_attack]
        rows.append([defense.label, *(text for side in sides for text in _told(opinions, side))])
    yield "### Agreement with opinions\n"
    yield f"Correlation of the claimed quality with the opinions on at most {len(opinions)} pictures; 1 is best. The"
    yield "attacked columns are means over attacks that ignore the defense. PLCC is computed on the scores as they are,"
    yield "without a fitted curve. n is the number of pictures measured: for the attacked columns, under every attack"
    yield f"except those made on fewer than {FEWEST} pictures.\n"
    header = ("defense", "SROCC clean ↑", "PLCC clean ↑", "n", "SROCC attacked ↑", "PLCC attacked ↑", "n")
    yield from table(header, rows)


def _told(opinions: Mapping[str, float], sides: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return both agreements over the pictures that were measured under every condition, and how many those are."""
    measured = [scores for scores in sides.values() if scores]
    conditions = [scores for scores in measured if len(scores) >= FEWEST] or measured
    images = [image for image in opinions if conditions and all(image in scores for scores in conditions)]
    if len(images) < FEWEST:
        return [NOTHING, NOTHING, str(len(images))]
    told, scores = [opinions[image] for image in images], [[one[image] for image in images] for one in conditions]
    return [shown(agreement(told, scores, "srocc")), shown(agreement(told, scores, "plcc")), str(len(images))]
