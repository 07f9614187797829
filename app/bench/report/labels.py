"""Names beside the points of a plot that cover neither each other nor a point."""

import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

FONT_SIZE = 9
_DISTANCES = (6, 14, 24, 36, 50, 66, 84, 104, 126, 150)
"""Of a name's edge from its point, in typographic points."""
_DIRECTIONS = 24


def place_labels(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write each name, given with the x and y of its point, at the nearest place that is free; a line leads to it.

    A name for which no place is free is written where it covers least.
    """
    figure = axes.figure.figure
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # fixes the layout
    scale = figure.dpi / 72
    frame = axes.get_window_extent()
    places = [tuple(place) for place in axes.transData.transform([point[:2] for point in points])]
    taken = [Bbox.from_bounds(x - 5 * scale, y - 5 * scale, 10 * scale, 10 * scale) for x, y in places]
    for (x, y, name), (left, bottom) in zip(points, places, strict=True):
        width, height = _size(canvas, name)
        boxes = [
            Bbox.from_bounds(left + dx * scale - width / 2, bottom + dy * scale - height / 2, width, height)
            for dx, dy in _offsets(width / scale, height / scale)
        ]
        costs = [sum(_common(box, other) for other in taken) + width * height - _common(box, frame) for box in boxes]
        box = boxes[next((index for index, cost in enumerate(costs) if cost < 1), costs.index(min(costs)))]
        taken.append(box)
        middle = ((box.x0 + box.x1) / 2 - left, (box.y0 + box.y1) / 2 - bottom)
        axes.annotate(
            name, (x, y), xytext=(middle[0] / scale, middle[1] / scale), textcoords="offset points",
            fontsize=FONT_SIZE, ha="center", va="center",
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            arrowprops={"arrowstyle": "-", "color": "#aaaaaa", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4},
        ).set_in_layout(False)  # fmt: skip


def _size(canvas: FigureCanvasAgg, text: str) -> tuple[float, float]:
    """Return the width and height of a text in pixels, with a little room around it."""
    drawn = canvas.figure.text(0, 0, text, fontsize=FONT_SIZE)
    extent = drawn.get_window_extent()
    drawn.remove()
    return extent.width + 6, extent.height + 4


def _offsets(width: float, height: float) -> Iterator[tuple[float, float]]:
    """Yield where the middle of a text may lie, seen from its point, the nearest places first."""
    for distance in _DISTANCES:
        for number in range(_DIRECTIONS):
            angle = 2 * math.pi * (number + 3) / _DIRECTIONS  # first above on the right, off the error bars
            x, y = math.cos(angle), math.sin(angle)
            yield x * (distance + width / 2), y * (distance + height / 2)


def _common(one: Bbox, other: Bbox) -> float:
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    high = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(max(wide, 0) * max(high, 0))
