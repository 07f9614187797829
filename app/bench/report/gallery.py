"""Sheets of pictures: clean, attacked, and purified by every defense, each above its difference to the clean one."""

import io
import math
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from torch import Tensor

from app.bench.folder import DefenseRecord, Folder, read_picture, write_whole
from app.bench.parameters import Parameters
from app.bench.report.plots import no_formulas
from app.bench.units import Unit, units_of

COLUMNS = 6
TILE = 1.75
"""Width of a picture in inches."""
NARROWEST, TALLEST = 0.25, 3.0
"""Least and most height of a picture, as multiples of its width; one of another shape is shown smaller."""
LETTERS = 12
"""Of a title that have room in an inch."""
SHOWN = 512
"""Pixels a side of what is drawn: a tile has fewer, and all of them are held at once."""
FACTOR = 10
"""By which differences are enlarged."""

Pixels = NDArray[np.float32]
Tile = tuple[str, Pixels, Pixels]
"""A title, a picture and its difference to the clean one, (H, W, 3)."""


def sheets(parameters: Parameters, folder: Folder) -> Iterator[tuple[str, Path]]:
    """Write a sheet for every picture whose purified ones were kept; yield the title and file of each."""
    for unit in units_of(parameters):
        if not unit.keeps_purified or unit.attack is None or not folder.attacked_picture(unit).is_file():
            continue
        title = f"{unit.picture.name}: {unit.attack.label} on {unit.metrics[0].label}"
        file = folder.root / "plots" / f"gallery-{unit.picture.key}.jpg"
        write_whole(file, _draw(title, list(_tiles(unit, folder))))
        yield title, file


def _tiles(unit: Unit, folder: Folder) -> Iterator[Tile]:
    metric = unit.metrics[0].label
    clean, records = folder.read_clean(unit), folder.records(unit)
    attacked = folder.read_attacked(unit)
    clean_record = folder.records(unit.model_copy(update={"attack": None, "metrics": ()})).get("none")
    yield f"clean\n{_score(clean_record, metric)}", _shown(clean), _difference(clean, clean)
    for defense in unit.defenses:
        record = records.get(defense.label)
        label = "attacked" if defense.label == "none" else defense.label
        if defense.label == "none":
            yield f"{label}\n{_score(record, metric)}", _shown(attacked), _difference(attacked, clean)
            continue
        file, grid = (folder.purified_picture(unit, defense.label, aligned=aligned) for aligned in (False, True))
        if file.is_file() and grid.is_file():
            purified, aligned = read_picture(file), read_picture(grid)
            yield f"{label}\n{_score(record, metric)}", _shown(purified), _difference(aligned, clean)


@no_formulas()
def _draw(title: str, tiles: list[Tile]) -> bytes:
    rows, titles = math.ceil(len(tiles) / COLUMNS), [_shortened(name) for name, _, _ in tiles]
    height, width = tiles[0][1].shape[:2]
    high = TILE * min(max(height / width, NARROWEST), TALLEST)
    columns = min(COLUMNS, len(tiles))
    above = 0.3 + 0.15 * max(title.count("\n") for title in titles)
    figure = Figure(figsize=(columns * TILE + 0.2, rows * (2 * high + above) + 0.55))
    figure.set_layout_engine(ConstrainedLayoutEngine(h_pad=0.01, w_pad=0.03, hspace=0, wspace=0))
    lines = (title, f"below each picture: its difference to the clean one, amplified {FACTOR} times")
    # not by wrap=True, which looks for formulas all the same
    wrapped = [textwrap.fill(line, round(LETTERS * columns * TILE)) for line in lines]
    figure.suptitle("\n".join(wrapped), fontsize=9)
    panels = figure.subplots(2 * rows, columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for number, (_, picture, difference) in enumerate(tiles):
        row, column = divmod(number, columns)
        for axes, shown in ((panels[2 * row, column], picture), (panels[2 * row + 1, column], difference)):
            axes.imshow(shown)
        panels[2 * row, column].set_title(titles[number], fontsize=7.5)
    sheet = io.BytesIO()
    with warnings.catch_warnings():  # a box stands for a letter that the font lacks; the report has the name too
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(sheet, dpi=130, format="jpg", pil_kwargs={"quality": 90})
    return sheet.getvalue()


def _shortened(name: str) -> str:
    first, _, score = name.partition("\n")
    return "\n".join([*textwrap.wrap(first, 30, max_lines=2, placeholder=" …"), score])


def _score(record: object, metric: str) -> str:
    score = record.scores.get(metric) if isinstance(record, DefenseRecord) else None
    return "not scored" if score is None else f"score {score:.4g}"


def _difference(picture: Tensor, clean: Tensor) -> Pixels:
    """Return the difference, ten times, around middle gray."""
    return _shown((0.5 + FACTOR * (picture - clean)).clamp(0, 1))


def _shown(picture: Tensor) -> Pixels:
    """Return a picture, (1, 3, H, W), shrunk to what can be seen of it: (h, w, 3)."""
    scale = min(1, SHOWN / max(picture.shape[2:]))
    height, width = (max(1, round(side * scale)) for side in picture.shape[2:])
    pixels: Pixels = F.adaptive_avg_pool2d(picture, (height, width))[0].permute(1, 2, 0).numpy()
    return pixels
