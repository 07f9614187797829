"""The plot of shifts: of pictures that nobody attacked, and of attacked ones, by each defense."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from app.bench.items import slug
from app.bench.report.checks import ATTACKERS, Check
from app.bench.report.plots import ACCENT, BASELINE, INK, no_formulas, saved, tidy

COLORS = dict(zip(ATTACKERS, (BASELINE, ACCENT, "#2f8f4e"), strict=True))
HONEST = "#777777"


@no_formulas()
def draw_shifts(root: Path, metric: str, found: Sequence[Check]) -> tuple[str, Path]:
    """Write the plot of all shifts, a row for each defense and kind of pictures; return its title and file."""
    rows: list[tuple[str, str, Sequence[float], tuple[float, float]]] = []
    for one in found:
        if not rows or rows[-1][0] != one.defense:
            rows.append((one.defense, "nobody attacks", one.shifts[0], one.honest))
        rows.append((one.defense, one.attacker, one.shifts[1], one.honest))
    figure = Figure(figsize=(10, 1.4 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    spread = np.random.default_rng(0)
    for place, (_, kind, shifts, honest) in enumerate(rows):
        axes.barh(place, honest[1] - honest[0], left=honest[0], height=1, color="#ececec", zorder=0)
        beside = place + spread.uniform(-0.25, 0.25, len(shifts))
        axes.scatter(shifts, beside, s=7, color=COLORS.get(kind, HONEST), alpha=0.6, linewidths=0)
    names = [name if not place or rows[place - 1][0] != name else "" for place, (name, *_) in enumerate(rows)]
    for place, name in enumerate(names):
        if name and place:
            axes.axhline(place - 0.5, color="#bbbbbb", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{name}   {row[1]}" for name, row in zip(names, rows, strict=True)], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("shift: defended less undefended score\ngray: where 95 of 100 honest pictures lie", color=INK)
    tidy(axes)
    title = "Shift of honest and attacked pictures"
    return f"{title}: {metric}", saved(figure, root / "plots" / slug(metric) / "shifts.png", f"{title}\n{metric}")
