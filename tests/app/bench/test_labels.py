"""Names in a plot cover neither each other nor a point."""

from itertools import combinations

import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from app.bench.report import gallery, plots
from app.bench.report.labels import place_labels
from app.bench.sweeps import Curve
from models.evaluation.bootstrap import Mean


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


def test_the_name_of_a_long_chain_is_broken_and_stays_beside_its_point():
    step = "diffpure(timestep=10, denoiser=ffdnet-pyramid)"
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots()
    mean = Mean(0.1, 0.05, 0.15, 9)
    points = [("none", Mean(0.4, 0.3, 0.5, 9), mean), (f"chain(steps={step} + {step} + {step})", mean, mean)]
    plots._scatter(axes, points)
    plots._name(axes, points)
    FigureCanvasAgg(figure).draw()
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in map(Text.get_window_extent, axes.texts))


@pytest.mark.parametrize("drawing", [plots._heatmap, plots._bars])
def test_long_names_of_attacks_are_broken_cover_no_other_and_stay_inside(drawing):
    names = [
        "uap(file=/home/somebody/studies/patterns/through-jpeg.safetensors)",
        "square(epsilon=4, queries=1000, draws=8)",
    ]
    figure = drawing({name: {"jpeg": Mean(0.5, 0.4, 0.6, 9)} for name in [*names, "ifgsm"]}, ["jpeg"])
    FigureCanvasAgg(figure).draw()  # a warning, such as that there is no room, is an error
    texts = [text for axes in figure.axes for text in (axes.title, *axes.get_xticklabels())]
    boxes = [text.get_window_extent() for text in texts if text.get_text().startswith(("uap", "square", "ifgsm"))]
    assert len(boxes) == 3
    assert all(figure.bbox.x0 <= box.x0 and figure.bbox.y0 <= box.y0 for box in boxes)
    if drawing is plots._bars:  # slanted ones have boxes that overlap
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_the_names_of_lines_that_end_together_do_not_overlap_and_stay_inside():
    curve = Curve("epsilon", {2: "ifgsm(epsilon=2)", 4: "ifgsm(epsilon=4)"})
    order = ["none", *(f"jpeg(quality={quality})" for quality in range(10, 20)), "flip + " * 12 + "jpeg"]
    means = {name: Mean(0.3 if name == "none" else 0.05, None, None, 9) for name in order}
    figure = plots._growth(dict.fromkeys(curve.labels.values(), means), order, [curve])
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert sorted(text.get_text().replace("\n", " ") for text in axes.texts) == sorted(order)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(figure.bbox.y0 <= box.y0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_attacks_that_were_not_swept_have_no_plot_of_growth():
    mean = {"none": Mean(0.3, None, None, 9)}
    assert plots._growth({"ifgsm": mean, "square": mean}, ["none"], []) is None


def test_defenses_whose_names_begin_alike_have_titles_that_differ():
    names = [f"chain(steps=flip + jpeg(quality={quality}))" for quality in (30, 90)]
    titles = [gallery._shortened(f"{name}\nscore 84.7") for name in names]
    assert [" ".join(title.split("\n")) for title in titles] == [f"{name} score 84.7" for name in names]
    assert max(len(line) for line in titles[0].split("\n")) <= 28
