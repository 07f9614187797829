"""What the shipped metric is worth beside training-free ones, and what scoring costs.

`python -m benchmarks.metrics --photos DIR` prints the sections that are named (all by default):

    agreement    rank correlation with the pseudo-MOS, and distortions put in order, beside piqe, NIQE and BRISQUE, and
                 beside a judge who does not look: told each image's distortion and level, it says the mean label that
                 these have on the other photographs (of which there must be one)
    families     the share of pairs of levels that are put in order, for each family of distortions; by the labels too
    attack       by how much plain I-FGSM raises the score of clean photos
    speed        CPU time of a score, beside piqe, NIQE, BRISQUE and pyiqa's piqe
    start        seconds to import the API and to the first score, and which heavy packages that imported

The photographs must not have been trained on. An image without a score counts as not in order.
`--weights FILE` judges another network in the place of the shipped one. `--defense NAME` (again and again) asks what
fr-surrogate still knows of images purified by this defense: one that makes all images alike is robust and useless.
"""

import argparse
import datetime
import functools
import itertools
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from app.bench.items import label_of
from benchmarks.tables import header, row, show
from models.attacks import parse_attack
from models.defenses import parse_defense
from models.iqa import fr_surrogate
from models.metric import Metric, MetricError
from models.metrics import find_metric
from training import pseudo_mos
from training.distorted import center, distort
from training.distortions import FAMILIES, LEVELS, Pixels
from training.photos import photographs

OURS = "fr-surrogate"
PEERS = ("piqe", "niqe", "brisque")
PYIQAS = "pyiqa:piqe"
BLIND = "told distortion and level"
LABELS = "labels"
"""The pseudo-MOS itself, which sees the original."""


class Judged(NamedTuple):
    """One photograph with its distortions, as the label and every metric see it; higher is better throughout."""

    marks: list[tuple[str, int]]
    labels: NDArray[np.float64]
    scores: dict[str, NDArray[np.float64]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], metavar="SECTION", help="all by default")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs, none of them trained on")
    parser.add_argument("--side", type=int, default=384, help="side of the center crops")
    parser.add_argument("--shrunk", action="store_true", help="whole photographs, shrunk until that is their side")
    parser.add_argument("--count", type=int, help="at most so many photographs")
    parser.add_argument("--weights", type=Path, help="network to judge in the place of the shipped one")
    parser.add_argument(
        "--families", nargs="+", choices=[*FAMILIES], default=[*FAMILIES], help="only these distortions"
    )
    parser.add_argument("--defense", action="append", default=[], help="fr-surrogate after this too, like flip+jpeg")
    parser.add_argument("--quick", action="store_true", help="one small crop, within half a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.quick:
        options.side, options.count = 192, 1
    if options.weights:
        network = fr_surrogate.FRSurrogate.read(options.weights)
        fr_surrogate.shipped = lambda _: network  # type: ignore[assignment]
    cut = functools.partial(center, side=options.side, shrunk=options.shrunk)
    run = Run(photographs(options.photos)[: options.count], cut, options.defense, options.families)
    about = {
        "date": str(datetime.date.today()),
        "machine": platform.processor() or platform.machine(),
        "photographs": len(run.files),
        "side": options.side,
        "shrunk": options.shrunk,
    }
    wanted = options.sections or SECTIONS
    show(about, {name: functools.partial(table, SECTIONS[name], run) for name in wanted}, as_json=options.json)


def table(section: Callable[["Run"], list[dict[str, Any]]], run: "Run") -> None:
    rows = section(run)
    header(*rows[0])
    for cells in rows:
        row(*cells.values())


class Run:
    """The photographs, and what the metrics say of them, worked out once."""

    def __init__(
        self, files: list[Path], cut: Callable[[Path], Pixels], defenses: Sequence[str], families: Sequence[str]
    ) -> None:
        self.files, self.cut, self.families = files, cut, families
        self.defended = {f"{OURS} after {label_of(text)}": parse_defense(text) for text in defenses}
        self.metrics = [name for name in (OURS, *PEERS) if find_metric(name).availability().available]
        self._judged: list[Judged] = []

    def judged(self) -> list[Judged]:
        if not self._judged:
            self._judged = [self._judge(file) for file in self.files]
        return self._judged

    def _judge(self, file: Path) -> Judged:
        samples, stack = distort(self.cut(file), file.name, dict.fromkeys(self.families, LEVELS))
        values = {name: np.array([one.members[name] for one in samples]) for name in pseudo_mos.MEMBERS}
        labels = pseudo_mos.fuse(values, pseudo_mos.read_scale())
        labels[0] = 100
        images = torch.from_numpy(stack).permute(0, 3, 1, 2)
        scores = {}
        with torch.no_grad():
            for name in self.metrics:
                metric = find_metric(name)
                told = np.array([_score(metric, image[None].float() / 255) for image in images])
                scores[name] = metric.card.sign * told
            ours = find_metric(OURS)
            for name, defense in self.defended.items():
                purified = (defense(image[None].float() / 255, seed) for seed, image in enumerate(images))
                scores[name] = np.array([_score(ours, one) for one in purified])
        return Judged([(one.family, one.level) for one in samples], labels, scores)


def _score(metric: Metric, image: torch.Tensor) -> float:
    """Return the score; NaN where the metric has none, as niqe for an image without texture."""
    try:
        return float(metric(image))
    except MetricError:
        return math.nan


def _srocc(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """Return the rank correlation over the images that have a score."""
    there = np.isfinite(scores)
    return float(spearmanr(scores[there], labels[there]).statistic)


def _pairs(one: Judged, family: str) -> Iterator[tuple[int, int]]:
    """Yield the places of a better and a worse level of a family."""
    places = {level: place for place, (name, level) in enumerate(one.marks) if name == family}
    yield from ((places[better], places[worse]) for better, worse in itertools.combinations(LEVELS, 2))


def _ordered(judged: list[Judged], metric: str, family: str) -> float:
    """Return the share of a family's pairs that a metric, or LABELS, puts in order."""
    told = [(one, one.labels if metric == LABELS else one.scores[metric]) for one in judged]
    return float(np.mean([values[i] > values[j] for one, values in told for i, j in _pairs(one, family)]))


def _clean_wins(judged: list[Judged], metric: str) -> float:
    wins = [
        one.scores[metric][0] > one.scores[metric][place]
        for one in judged
        for place, (_, level) in enumerate(one.marks)
        if level == 3
    ]
    return float(np.mean(wins))


def with_one_who_does_not_look(judged: list[Judged]) -> list[Judged]:
    """Add, as scores of BLIND, the mean label of each image's distortion and level on the other photographs."""
    told: dict[tuple[str, int], list[float]] = {}
    for one in judged:
        for mark, label in zip(one.marks, one.labels, strict=True):
            told.setdefault(mark, []).append(float(label))
    added = []
    for one in judged:
        pairs = zip(one.marks, one.labels, strict=True)
        said = [(sum(told[mark]) - label) / (len(told[mark]) - 1) for mark, label in pairs]
        added.append(one._replace(scores={**one.scores, BLIND: np.array(said)}))
    return added


def agreement(run: Run) -> list[dict[str, Any]]:
    judged, rows = run.judged(), []
    names = [*run.metrics, *run.defended]
    if len(judged) > 1:
        judged, names = with_one_who_does_not_look(judged), [*names, BLIND]
    labels = np.concatenate([one.labels for one in judged])
    for metric in names:
        scores = np.concatenate([one.scores[metric] for one in judged])
        within = [_srocc(one.scores[metric], one.labels) for one in judged]
        rows.append(
            {
                "metric": metric,
                "SROCC, all": round(_srocc(scores, labels), 3),
                "SROCC, within one photograph": round(float(np.mean(within)), 3),
                "pairs of levels in order": round(
                    float(np.mean([_ordered(judged, metric, f) for f in run.families])), 3
                ),
                "clean beats level 3": round(_clean_wins(judged, metric), 3),
                "images without a score": int(np.isnan(scores).sum()),
            }
        )
    return rows


def families(run: Run) -> list[dict[str, Any]]:
    judged = run.judged()
    return [
        {"family": family, **{metric: round(_ordered(judged, metric, family), 3) for metric in (*run.metrics, LABELS)}}
        for family in run.families
    ]


def attack(run: Run) -> list[dict[str, Any]]:
    metric, ifgsm = find_metric(OURS), parse_attack("ifgsm")
    low, high = metric.card.range
    span = (high or 0) - (low or 0)
    shifts = []
    for file in run.files:
        clean = torch.from_numpy(run.cut(file).copy()).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            shifts.append((float(metric(clean)), float(metric(ifgsm(clean, metric)))))
    rises = [(after - before) / span for before, after in shifts]
    return [
        {
            "metric": OURS,
            "mean score, clean": round(float(np.mean([before for before, _ in shifts])), 1),
            "attacked": round(float(np.mean([after for _, after in shifts])), 1),
            "raised by over 25 % of the range": round(float(np.mean([rise > 0.25 for rise in rises])), 3),
            "least rise, of the range": round(min(rises), 2),
        }
    ]


def speed(run: Run) -> list[dict[str, Any]]:
    image = torch.from_numpy(run.cut(run.files[0]).copy()).permute(2, 0, 1)[None].float() / 255
    names = [*run.metrics, *([PYIQAS] if find_metric(PYIQAS).availability().available else [])]
    best = dict.fromkeys(names, float("inf"))
    with torch.no_grad():
        for turn, name in itertools.product(range(6), names):
            begun = time.process_time()
            find_metric(name)(image)
            if turn:
                best[name] = min(best[name], time.process_time() - begun)
    return [{"metric": name, "CPU ms": round(seconds * 1000, 1)} for name, seconds in best.items()]


START = """
import sys, time
begun = time.process_time()
import app.main
imported = time.process_time() - begun
import torch
from models.metric import Metric, MetricError
from models.metrics import find_metric
torch.set_num_threads(1)
image = torch.rand(1, 3, 384, 512)
begun = time.process_time()
find_metric("fr-surrogate")(image)
first = time.process_time() - begun
begun = time.process_time()
find_metric("fr-surrogate")(image)
print(imported, first, time.process_time() - begun)
print(*[name for name in ("pyiqa", "transformers", "torchvision", "diffusers", "timm") if name in sys.modules])
"""


def start(_: Run) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", START], check=True, capture_output=True, text=True)
    seconds, heavy = done.stdout.splitlines()
    imported, first, second = (round(float(value), 2) for value in seconds.split())
    return [
        {
            "import of app.main, CPU s": imported,
            "first score of 512x384, CPU s": first,
            "second": second,
            "heavy packages imported": heavy or "none",
        }
    ]


SECTIONS: dict[str, Callable[[Run], list[dict[str, Any]]]] = {
    "agreement": agreement,
    "families": families,
    "attack": attack,
    "speed": speed,
    "start": start,
}

if __name__ == "__main__":
    main()
