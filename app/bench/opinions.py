"""Scores beside what people said of the pictures: a table of opinions, and how well each defense keeps to it."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from app.bench.cells import CLEAN, Cell
from app.bench.items import BenchError, metric_of
from app.bench.markdown import shown, table
from app.bench.parameters import Manifest
from models.evaluation.correlation import Kind, agreement

COLUMNS = ("file", "mos")
FEWEST = 3


def read_opinions(file: Path, pictures: Sequence[str]) -> dict[str, float]:
    """Return the opinion of each picture that the table knows, by the picture's name.

    The table is CSV with the columns `file`, a name below the folder of images, and `mos`, higher for better.
    Raises BenchError for a table that cannot be read, a number that is none, a picture that it names twice, and
    opinions on fewer than three of the pictures.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchError(f"--mos {file} cannot be read: {error}") from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise BenchError(f"--mos {file} is a CSV table with the columns {', '.join(COLUMNS)} and a row per picture")
    found: dict[str, float] = {}
    for number, row in enumerate(rows, start=2):
        name = (row["file"] or "").strip()
        try:
            value = float(row["mos"] or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise BenchError(f"--mos {file}, line {number}: {row['mos']!r} is not a number")
        if name in found:
            raise BenchError(f"--mos {file}, line {number}: {name} is there twice")
        found[name] = value
    known = {name: found[name] for name in pictures if name in found}
    if len(known) < FEWEST:
        raise BenchError(
            f"--mos {file} has opinions on {len(known)} of {len(pictures)} pictures, at least {FEWEST} are needed; "
            f"it names {', '.join(list(found)[:3])} ..., the pictures are {', '.join(pictures[:3])} ..."
        )
    return known


def agreements(manifest: Manifest, cells: Sequence[Cell], metric: str) -> Iterator[str]:
    """Yield how well the scores of each defense follow the opinions, on clean and on attacked pictures."""
    opinions = manifest.opinions
    if not opinions:
        return
    parameters = manifest.parameters
    item = next(one for one in parameters.metrics if one.label == metric)
    sign = 1 if metric_of(item).card.higher_is_better else -1
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
