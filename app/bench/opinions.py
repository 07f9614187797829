"""What people said of the pictures: a table of opinions, read with care."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from app.bench.items import BenchError

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
        why = error.strerror if isinstance(error, OSError) else error
        raise BenchError(f"--mos {file} cannot be read: {why}") from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise BenchError(
            f"--mos {file} must be a CSV table with the columns {', '.join(COLUMNS)} and one row per image"
        )
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
            raise BenchError(f"--mos {file}, line {number}: {name} appears twice")
        found[name] = value
    known = {name: found[name] for name in pictures if name in found}
    if len(known) < FEWEST:
        raise BenchError(
            f"--mos {file} has opinions on {len(known)} of {len(pictures)} images, but at least {FEWEST} are needed; "
            f"it names {', '.join(list(found)[:3])} ..., the images are {', '.join(pictures[:3])} ..."
        )
    return known
