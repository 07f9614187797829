"""Names in a plot cover neither each other nor a point."""

from itertools import combinations

import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from app.bench.report.labels import place_labels


def test_crowded_names_do_not_overlap_and_stay_inside():
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots()
    points = [(0.1 + 0.01 * (n % 5), 0.6 + 0.002 * n, f"defense(parameter={n})") for n in range(20)]
    axes.scatter(*zip(*[point[:2] for point in points], strict=True))
    axes.margins(0.3)
    place_labels(axes, points)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert [text.get_text() for text in axes.texts] == [name for *_, name in points]
    # an annotation's extent includes its line, so the text's own is taken
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
