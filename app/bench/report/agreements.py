"""How well the scores of each defense keep to what people said of the pictures."""

from collections.abc import Iterator, Mapping, Sequence

from app.bench.cells import CLEAN, Cell
from app.bench.opinions import FEWEST
from app.bench.parameters import Manifest
from app.bench.report.markdown import shown, table
from models.evaluation.correlation import Kind, agreement
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
        rows.append([defense.label, *(_told(opinions, side, kind) for side in sides for kind in ("srocc", "plcc"))])
    yield "### Agreement with opinions\n"
    yield f"Correlation of the claimed quality with the opinions on {len(opinions)} pictures, 1 at best; attacked: the"
    yield "mean over attacks that know of no defense. PLCC is that of the scores as they are, no curve fitted.\n"
    header = ("defense", "SROCC clean ↑", "PLCC clean ↑", "SROCC attacked ↑", "PLCC attacked ↑")
    yield from table(header, rows)


def _told(opinions: Mapping[str, float], sides: Mapping[str, Mapping[str, float]], kind: Kind) -> str:
    """Return the agreement over the pictures that were measured under every condition."""
    conditions = [scores for scores in sides.values() if scores]
    if not conditions:
        return shown(None)
    images = [image for image in opinions if all(image in scores for scores in conditions)]
    if len(images) < FEWEST:
        return shown(None)
    scores = [[one[image] for image in images] for one in conditions]
    return shown(agreement([opinions[image] for image in images], scores, kind))
