"""Our numbers beside those of arXiv 2404.06957 on its metric Linearity, as far as those are public."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from app.bench.cells import CLEAN, Cell
from app.bench.items import label_of
from app.bench.parameters import Parameters
from app.bench.presets import GRADIENT_ATTACKS, PRESETS, ZHANG_ATTACKS
from app.bench.report.markdown import NOTHING, shown, table
from app.bench.report.summary import mean
from models.evaluation.correlation import srocc

GROUPS = {
    "adv-cf": "adv-cf",
    **dict.fromkeys(GRADIENT_ATTACKS, "fgsm"),
    **dict.fromkeys(ZHANG_ATTACKS, "zhang"),
    "korhonen": "korhonen",
    "madc": "madc",
    "ssah": "ssah",
}
"""The group in which the paper's code reports an attack."""

_ORDER = ("adv-cf", "fgsm", "zhang", "korhonen", "madc", "ssah")


def _row(*values: tuple[float, float]) -> Mapping[str, tuple[float, float]]:
    return dict(zip(_ORDER, values, strict=True))


# Read off the plots that the authors' code of November 2023 came with: Linearity, test split, 299 pixels. An error of
# 0.002 in quality and of a hundredth of the axis in Gain is possible.
PAPER: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "none": _row((.737, .047), (.628, .989), (.661, 1.071), (.673, .979), (.805, .444), (.784, .473)),
    "resize": _row((.685, .071), (.577, .122), (.588, .099), (.591, .094), (.605, .067), (.605, .069)),
    "jpeg": _row((.709, .143), (.601, .079), (.619, .069), (.624, .071), (.642, .140), (.642, .128)),
    "fcn": _row((.753, .036), (.557, .559), (.574, .581), (.579, .533), (.609, .163), (.609, .203)),
    "flip": _row((.352, .049), (.129, .079), (.137, .090), (.139, .083), (.149, .048), (.149, .055)),
    "gaussian-blur": _row((.709, .203), (.617, .099), (.629, .097), (.633, .092), (.647, .172), (.647, .157)),
    "median-blur": _row((.689, .063), (.582, .129), (.606, .156), (.611, .138), (.630, .057), (.629, .062)),
    "random-crop": _row((.421, .053), (.211, .306), (.220, .338), (.227, .306), (.238, .126), (.238, .170)),
    "rotate": _row((.505, .043), (.298, .287), (.310, .313), (.335, .285), (.371, .106), (.375, .126)),
}  # fmt: skip
"""By defense and group of attacks: quality and Gain, means over images."""


def comparison(cells: Sequence[Cell], parameters: Parameters, metric: str) -> Iterator[str]:
    """Yield the paper's Gain and quality beside ours, over the same attacks, and how alike both rank the defenses."""
    made = {cell.attack for cell in cells if cell.metric == metric and not cell.adaptive}
    attacks = [attack.label for attack in parameters.attacks if attack.label in GROUPS and attack.label in made]
    theirs = {label_of(text) for text in PRESETS["paper"].defenses}
    of_both = [one for one in parameters.defenses if one.about["name"] in PAPER and one.label in theirs]
    labels = {one.about["name"]: one.label for one in of_both}
    its = [cell for cell in cells if cell.metric == metric and not cell.adaptive and cell.attack in attacks]
    ours = {name: [cell for cell in its if cell.defense == label] for name, label in labels.items()}
    ours = {name: some for name, some in ours.items() if some}
    if len(ours) < 3:
        return
    yield "### Beside the paper's numbers\n"
    yield "*Paper*: arXiv 2404.06957 on Linearity, read from the plots of its code. *Ours*: this study on"
    yield f"{metric}, so with other pictures and another metric. Only defenses as in the preset `paper` are compared."
    yield f"Means over {', '.join(attacks)}; the paper's value for a group of attacks stands for each of them.\n"
    rows = []
    for name, some in sorted(ours.items(), key=lambda item: _paper(item[0], attacks, 1)):
        values = (f"{_paper(name, attacks, 1):.3f}", shown(mean(some, "gain")))
        qualities = (f"{_paper(name, attacks, 0):.3f}", shown(mean(some, "quality")))
        rows.append([labels[name], *values, *qualities])
    yield from table(("defense", "Gain, paper ↓", "Gain, ours ↓", "quality, paper ↑", "quality, ours ↑"), rows)
    yield "Rank correlation (SROCC) of the defenses, without `none`, between the paper's order and ours; 1: the same:\n"
    groups = [attacks, *([one for one in attacks if GROUPS[one] == group] for group in _ORDER)]
    names = ["all of them", *_ORDER]
    rows = [
        [name, *(_alike(ours, members, index, measure) for index, measure in ((1, "gain"), (0, "quality")))]
        for name, members in zip(names, groups, strict=True)
        if members
    ]
    yield from table(("attacks", "Gain", "quality"), rows)


def _alike(ours: Mapping[str, Sequence[Cell]], attacks: Sequence[str], index: int, measure: str) -> str:
    pairs = []
    for name, cells in ours.items():
        found = mean([cell for cell in cells if cell.attack in attacks and cell.attack != CLEAN], measure)
        if found and name != "none":
            pairs.append((_paper(name, attacks, index), found.value))
    value = srocc([one for one, _ in pairs], [other for _, other in pairs])
    return NOTHING if math.isnan(value) else f"{value:.2f} (n = {len(pairs)})"


def _paper(name: str, attacks: Sequence[str], index: int) -> float:
    """Return the paper's mean quality (index 0) or Gain (1) of a defense over attacks."""
    return statistics.fmean(PAPER[name][GROUPS[attack]][index] for attack in attacks)
