"""The plots of a report: Gain against fidelity, attacks by defenses, bars for every attack, and what cheating pays."""

import functools
import io
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from app.bench.folder import write_whole
from app.bench.items import slug
from app.bench.report.labels import place_labels
from app.bench.report.summary import Row, is_on_front
from app.bench.sweeps import Curve
from models.evaluation.bootstrap import Mean

INK, ACCENT, BASELINE = "#222222", "#1f6fb2", "#b2431f"
DPI = 130
WIDEST, MOST_LINES = 32, 3
"""Letters of a line, and lines, that the name of an attack has room for: above a panel, below a column."""
WIDEST_BESIDE = 48
"""The same beside a point."""
no_formulas = functools.partial(mpl.rc_context, {"text.parse_math": False})
"""A context: labels may hold names of files, which are no formulas, whatever dollars are in them."""

Point = tuple[str, Mean, Mean]
"""A defense, and where it lies across and up."""
Gains = Mapping[str, Mapping[str, Mean]]
"""Mean Gain by attack and defense."""


class Sweeps(NamedTuple):
    """The attacks and the defenses that were tried with several values of a parameter."""

    attacks: Sequence[Curve]
    defenses: Sequence[Curve]


def draw(
    root: Path, metric: str, rows: Sequence[Row], gains: Gains, order: Sequence[str], sweeps: Sweeps, *, adaptive: bool
) -> Iterator[tuple[str, Path]]:
    """Write the plots of a metric below `root` and yield the title, with what it is of, and file of each.

    `order` names the defenses that have a Gain, the best first.
    """
    which = "attacks through the defense" if adaptive else "attacks that ignore the defense"
    folder = root / "plots" / f"{slug(metric)}{'-adaptive' if adaptive else ''}"
    drawings: Mapping[str, tuple[str, Callable[[], Figure | None]]] = {
        "Gain and fidelity": ("front", lambda: _front(rows, sweeps.defenses)),
        "Gain of every defense under every attack": ("heatmap", lambda: _heatmap(gains, order)),
        "Gain under each attack": ("bars", lambda: _bars(gains, order)),
        "Gain as an attack grows": ("growth", lambda: _growth(gains, order, sweeps.attacks)),
    }
    for title, (name, drawing) in drawings.items():
        with no_formulas():
            figure = drawing()
            if figure is None:
                continue
            file = saved(figure, folder / f"{name}.png", f"{title}\n{metric}, {which}")
        yield f"{title}: {metric}, {which}", file


@no_formulas()
def draw_cheats(root: Path, metric: str, points: Sequence[Point]) -> tuple[str, Path]:
    """Write the plot of what one cheat gains behind each defense and honest pictures pay; return its title and file."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots()
    _scatter(axes, points)
    axes.set_xlabel("share of the other pictures that an attacked one passes  (lower: cheating pays less)")
    axes.set_ylabel("share of pairs in the right order while all are honest  (higher: the defense costs less)")
    _name(axes, points)
    title = "One picture cheats"
    return f"{title}: {metric}", saved(figure, root / "plots" / slug(metric) / "cheats.png", f"{title}\n{metric}")


def saved(figure: Figure, file: Path, title: str) -> Path:
    """Write a plot under its title and return its file."""
    figure.suptitle(title, fontsize=11, color=INK)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format="png")
    write_whole(file, picture.getvalue())
    return file


def _scatter(axes: Axes, points: Sequence[Point]) -> None:
    for label, across, up in points:
        color = BASELINE if label == "none" else ACCENT
        axes.errorbar(
            across.value, up.value, xerr=_reach(across), yerr=_reach(up),
            fmt="o", color=color, ecolor=color, elinewidth=0.8, alpha=0.75, markersize=6,
            zorder=3 if label == "none" else 2,
        )  # fmt: skip
    axes.margins(0.12)
    tidy(axes)


def _name(axes: Axes, points: Sequence[Point]) -> None:
    place_labels(axes, [(across.value, up.value, _wrapped(label, WIDEST_BESIDE)) for label, across, up in points])


def _front(rows: Sequence[Row], curves: Sequence[Curve]) -> Figure | None:
    """Mean Gain against mean aligned quality.

    Dotted is the front of what was measured most often; a thin line joins the values of one parameter.
    """
    points = [(row.defense, row.gain, row.aligned_quality) for row in rows if row.gain and row.aligned_quality]
    if not points:
        return None
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots()
    _scatter(axes, points)
    most = max(gain.n for _, gain, _ in points)
    whole = [(gain, quality) for _, gain, quality in points if gain.n == most]
    front = sorted((gain.value, quality.value) for gain, quality in whole if is_on_front((gain, quality), whole))
    axes.plot(*zip(*front, strict=True), color=ACCENT, linewidth=1, linestyle=":", zorder=0)
    places = {label: (gain.value, quality.value) for label, gain, quality in points}
    for curve in curves:
        if joined := [places[label] for label in curve.labels.values() if label in places]:
            axes.plot(*zip(*joined, strict=True), color="#999999", linewidth=0.8, zorder=0)
    dotted = "\ndotted: the front, where no other defense is as good in both and better in one" if front[1:] else ""
    joined_by = "\nthin line: values of one parameter" if curves else ""
    axes.set_xlabel(f"mean Gain  (lower: the score is closer to that of the clean picture){dotted}{joined_by}")
    axes.set_ylabel("mean aligned quality  (higher: closer to the clean picture)")
    _name(axes, points)
    return figure


def _heatmap(gains: Gains, order: Sequence[str]) -> Figure | None:
    if not gains:
        return None
    values = np.array(
        [[gains[attack][one].value if one in gains[attack] else np.nan for attack in gains] for one in order]
    )
    longest, names = max(map(len, order)), [_wrapped(attack) for attack in gains]
    below = 0.06 * max(0, max(len(line) for name in names for line in name.split("\n")) - 12)
    figure = Figure(
        figsize=(max(6, 2.2 + 0.09 * longest + 0.75 * len(gains)), 2.1 + below + 0.33 * len(order)),
        layout="constrained",
    )
    axes = figure.subplots()
    top = max(float(np.nanmax(values)), 1e-6)
    norm = PowerNorm(0.5, vmin=0, vmax=top)
    axes.set_facecolor("#dddddd")
    shown = axes.imshow(values, norm=norm, cmap="cividis", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "not run" if math.isnan(value) else f"{value:.3f}" if value < 1 else f"{value:.2f}"
        dark = math.isnan(value) or norm(value) > 0.55
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=INK if dark else "white")
    axes.set_xticks(range(len(gains)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(order)), list(order))
    axes.tick_params(length=0, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(shown, ax=axes, label="mean Gain (lower is better)", fraction=0.05)
    return figure


def _bars(gains: Gains, order: Sequence[str]) -> Figure | None:
    if not gains:
        return None
    wide = min(3, len(gains))
    high = math.ceil(len(gains) / wide)
    longest = max(map(len, order))
    above = 0.17 * max(_wrapped(attack).count("\n") for attack in gains)
    figure = Figure(
        figsize=(wide * 3.1 + 0.085 * longest + 0.4, 0.8 + high * (0.9 + above + 0.21 * len(order))),
        layout="constrained",
    )
    panels = figure.subplots(high, wide, squeeze=False, sharey=True)
    for axes in panels.flat[len(gains) :]:
        axes.set_visible(False)
    for axes, (attack, means) in zip(panels.flat, gains.items(), strict=False):
        for row, defense in enumerate(order):
            if defense not in means:
                axes.text(0, row, " not run", va="center", fontsize=7, color="#888888")
                continue
            mean = means[defense]
            color = BASELINE if defense == "none" else ACCENT
            axes.barh(row, mean.value, color=color, height=0.7, xerr=_reach(mean), error_kw={"elinewidth": 0.8})
        axes.set_title(_wrapped(attack), fontsize=10, color=INK)
        axes.set_yticks(range(len(order)), list(order), fontsize=8)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.tick_params(axis="x", labelsize=8)
        tidy(axes)
    figure.supxlabel("mean Gain, 95 % interval (lower is better)", fontsize=10)
    return figure


def _growth(gains: Gains, order: Sequence[str], curves: Sequence[Curve]) -> Figure | None:
    """Mean Gain by the values of an attack's parameter: a panel per attack, a line per defense."""
    curves = [curve for curve in curves if all(label in gains for label in curve.labels.values())]
    if not curves:
        return None
    wide = min(2, len(curves))
    high = math.ceil(len(curves) / wide)
    figure = Figure(figsize=(wide * 6.5, 0.6 + high * (2.4 + 0.2 * len(order))), layout="constrained")
    panels = figure.subplots(high, wide, squeeze=False)
    for axes in panels.flat[len(curves) :]:
        axes.set_visible(False)
    for axes, curve in zip(panels.flat, curves, strict=False):
        ends: list[tuple[float, int, str]] = []
        for defense in order:
            means = [gains[label].get(defense) for label in curve.labels.values()]
            known = [(place, mean) for place, mean in enumerate(means) if mean]
            if not known:
                continue
            color = BASELINE if defense == "none" else ACCENT
            across, up = [place for place, _ in known], [mean.value for _, mean in known]
            axes.plot(across, up, marker="o", markersize=4, linewidth=1.2, color=color, alpha=0.75)
            ends.append((up[-1], across[-1], _wrapped(defense, WIDEST_BESIDE)))
        axes.set_xticks(range(len(curve.labels)), [f"{value:g}" for value in curve.labels])
        axes.set_ylim(bottom=0)
        axes.set_title(next(iter(curve.labels.values())).partition("(")[0], fontsize=10, color=INK)
        axes.set_xlabel(curve.parameter, fontsize=9)
        tidy(axes)
        _name_ends(axes, ends, gap=0.2 * high / figure.get_figheight())
    figure.supylabel("mean Gain (lower is better)", fontsize=10)
    return figure


def _name_ends(axes: Axes, ends: Sequence[tuple[float, int, str]], gap: float) -> None:
    """Write the name of each line, given with the height and place of its end, in a column on the right.

    `gap` is what a line of text needs, as a share of the axes' height.
    """
    lowest = 0.0
    for end, across, name in sorted(ends):
        height = max(end, lowest)
        lowest = height + gap * axes.get_ylim()[1] * (1 + name.count("\n"))
        line = {"arrowstyle": "-", "color": "#aaaaaa", "linewidth": 0.6, "shrinkA": 2, "shrinkB": 4}
        axes.annotate(
            name, (across, end), xytext=(1.04, height), textcoords=("axes fraction", "data"),
            fontsize=8, va="center", annotation_clip=False, arrowprops={**line, "relpos": (0, 0.5)},
        )  # fmt: skip


def _wrapped(label: str, widest: int = WIDEST) -> str:
    return "\n".join(textwrap.wrap(label, widest, max_lines=MOST_LINES, placeholder=" …"))


def _reach(mean: Mean) -> list[list[float]] | None:
    """Return how far the interval reaches down and up, as error bars want it."""
    if mean.low is None or mean.high is None:
        return None
    return [[max(mean.value - mean.low, 0)], [max(mean.high - mean.value, 0)]]


def tidy(axes: Axes) -> None:
    """Leave out of a plot what is not needed, and lay a grid under it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
