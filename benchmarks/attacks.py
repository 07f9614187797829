"""What our attack loop costs, and what it gains beside others' on the same metric.

`python -m benchmarks.attacks --photos DIR` prints two tables:

    cost   process time of I-FGSM, all steps on one batch, over that of the metric's own forward and backward passes, as
           many; one thread, by turns, medians. 1.00: the attack adds nothing
    gain   mean |f(clean) - f(attacked)| / f(clean) of ours and of theirs at equal budget, step and number of steps, the
           attacked images rounded to 8 bits, with a 95 % bootstrap interval; and process time per photograph

Theirs is torchattacks (MIT) with the metric wrapped as a classifier of two classes, of which attacks leave the first:
logits (-s/R, s/R). It is not one of our dependencies, because it pins an old `requests`:
`pip install --no-deps torchattacks tqdm`. Without it a plain loop of the same method, written here, stands in and is
named so.
"""

import argparse
import datetime
import functools
import importlib
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.bench.pictures import fit
from benchmarks.purify import read
from benchmarks.tables import header, row
from models.attack import Attack
from models.attacks.ifgsm import Ifgsm
from models.attacks.mifgsm import Mifgsm
from models.evaluation.bootstrap import bootstrap_mean
from models.evaluation.gains import gain
from models.metric import Metric
from models.metrics import find_metric

Attacker = Callable[[Tensor], Tensor]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--metric", default="fr-surrogate", help="a metric with gradients and a range")
    parser.add_argument("--side", type=int, default=299, help="side of the photographs, cut and shrunk to it")
    parser.add_argument("--batch", type=int, default=16, help="images of the cost")
    parser.add_argument("--count", type=int, default=8, help="photographs of the gain")
    parser.add_argument("--steps", type=int, default=10, help="of every attack")
    parser.add_argument("--repeats", type=int, default=5, help="of the cost")
    parser.add_argument("--budgets", nargs="+", type=int, default=[10, 4], help="in 8-bit levels; a step is one level")
    parser.add_argument("--quick", action="store_true", help="small images, few of them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if options.quick:
        options.side, options.batch, options.count, options.repeats = 96, 4, 2, 3
    torch.set_num_threads(1)
    metric = find_metric(options.metric)
    photos = photographs(options.photos, options.side, max(options.count, options.batch))
    repeated = [photos[index % len(photos)] for index in range(options.batch)]
    found = {
        "date": str(datetime.date.today()),
        "machine": platform.processor() or platform.machine(),
        "load": os.getloadavg()[0],
        "metric": f"{metric.card.name} {metric.card.version}",
        "side": options.side,
        "steps": options.steps,
        "peer": peer(),
        "cost": cost(metric, torch.cat(repeated), options.steps, options.repeats),
        "gain": [beside(metric, photos[: options.count], budget, options.steps) for budget in options.budgets],
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print({name: value for name, value in found.items() if name not in ("cost", "gain")}, "\n")
    header(*found["cost"])
    row(*(round(value, 3) if isinstance(value, float) else value for value in found["cost"].values()))
    for one in found["gain"]:
        print(f"\n{one['photographs']} photographs, {one['budget']} levels\n")
        header("attack", "Gain", "interval", "seconds per photograph")
        for line in one["attacks"]:
            row(line["attack"], f"{line['gain']:.3f}", f"{line['low']:.3f} to {line['high']:.3f}", line["seconds"])


def photographs(folder: Path, side: int, count: int) -> list[Tensor]:
    """Return at most `count` photographs, (1, 3, side, side), in 8 bits."""
    photos = [photo for photo in read(folder, None) if min(photo.shape[2:]) >= side][:count]
    if not photos:
        raise SystemExit(f"{folder}: no photograph of at least {side}x{side}")
    return [fit(photo, (side, side)) for photo in photos]


def cost(metric: Metric, images: Tensor, steps: int, repeats: int) -> dict[str, Any]:
    """Return the process time of the attack and of the metric alone, and their ratio: medians of repeats by turns."""
    attack = Ifgsm(iterations=steps)

    def alone() -> None:
        for _ in range(steps):
            leaf = images.detach().requires_grad_()
            torch.autograd.grad(metric(leaf).sum(), leaf)

    alone_times, attack_times = [], []
    gradient_of(metric, images[:1])
    for _ in range(repeats):
        alone_times.append(timed(alone))
        attack_times.append(timed(lambda: attack(images, metric)))
    ratios = [one / other for one, other in zip(attack_times, alone_times, strict=True)]
    return {
        "batch": len(images),
        "repeats": repeats,
        "metric alone, s": statistics.median(alone_times),
        "I-FGSM, s": statistics.median(attack_times),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }


def gradient_of(metric: Metric, images: Tensor) -> Tensor:
    leaf = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(metric(leaf).sum(), leaf)
    return gradient


def timed(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def beside(metric: Metric, photos: Sequence[Tensor], budget: int, steps: int) -> dict[str, Any]:
    """Return the Gain of every attack at a budget in levels, its steps one level long."""
    ours: dict[str, Attack] = {
        "ours: ifgsm": Ifgsm(epsilon=budget, step=1, iterations=steps),
        "ours: mifgsm": Mifgsm(epsilon=budget, step=1, iterations=steps),
    }
    attackers: dict[str, Attacker] = {name: functools.partial(attack, metric=metric) for name, attack in ours.items()}
    attackers |= theirs(metric, budget, steps)
    lines = []
    for name, attacker in attackers.items():
        torch.manual_seed(0)  # theirs draw from the global stream
        gains, seconds = [], []
        for photo in photos:
            start = time.process_time()
            attacked = attacker(photo).detach().mul(255).round().div(255)
            seconds.append(time.process_time() - start)
            if int((attacked - photo).abs().max().mul(255).round()) > budget:
                raise SystemExit(f"{name} left its budget")
            with torch.no_grad():
                gains.append(gain(float(metric(photo)), float(metric(attacked))))
        mean = bootstrap_mean(gains, range(len(gains)))
        low, high = (mean.value if end is None else end for end in (mean.low, mean.high))
        line = {"attack": name, "gain": mean.value, "low": low, "high": high}
        lines.append({**line, "seconds": statistics.median(seconds)})
    return {"budget": budget, "photographs": len(photos), "attacks": lines}


def peer() -> str:
    if importlib.util.find_spec("torchattacks") is None:
        return "torchattacks is not installed: a plain loop stands in"
    return f"torchattacks {importlib.import_module('torchattacks').__version__}"


def theirs(metric: Metric, budget: int, steps: int) -> dict[str, Attacker]:
    """Return the peers' attacks; none of them is told that images are 8-bit."""
    wrapped, epsilon, step = Classifier(metric).eval(), budget / 255, 1 / 255
    if importlib.util.find_spec("torchattacks") is None:
        return {"plain loop: PGD, zero start": lambda images: plain_pgd(wrapped, images, epsilon, step, steps)}
    library = importlib.import_module("torchattacks")
    made = {
        "torchattacks: PGD, zero start": library.PGD(wrapped, epsilon, step, steps, random_start=False),
        "torchattacks: PGD, random start": library.PGD(wrapped, epsilon, step, steps, random_start=True),
        "torchattacks: BIM": library.BIM(wrapped, epsilon, step, steps),
        "torchattacks: MIFGSM": library.MIFGSM(wrapped, epsilon, step, steps),
    }
    labels = torch.zeros(1, dtype=torch.long)
    return {name: functools.partial(attack, labels=labels) for name, attack in made.items()}


class Classifier(nn.Module):
    """A metric as attacks on classifiers want it: (N, 3, H, W) to logits (N, 2) of low and high quality."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        low, high = metric.card.range
        if low is None or high is None:
            raise SystemExit(f"{metric.card.name} has no range on both sides")
        self.metric, self.width = metric, high - low
        self.sign = metric.card.sign
        self.anchor = nn.Parameter(torch.zeros(()))  # the library asks parameters for the device

    def forward(self, images: Tensor) -> Tensor:
        quality = self.sign * self.metric(images) / self.width
        return torch.stack([-quality, quality], dim=1)


def plain_pgd(model: nn.Module, images: Tensor, epsilon: float, step: float, steps: int) -> Tensor:
    """Projected gradient ascent on cross-entropy (Madry et al., arXiv 1706.06083), without a random start."""
    labels = torch.zeros(len(images), dtype=torch.long)
    attacked = images.clone()
    for _ in range(steps):
        leaf = attacked.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(leaf), labels), leaf)
        moved = attacked + step * gradient.sign()
        attacked = (images + (moved - images).clamp(-epsilon, epsilon)).clamp(0, 1)
    return attacked


if __name__ == "__main__":
    main()
