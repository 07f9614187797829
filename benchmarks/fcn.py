"""What the FCN filters are worth against the attack that they were made for: `python -m benchmarks.fcn --photos DIR`.

Every photograph's center is attacked by adv-cf, non-adaptively, and purified by each defense, the unattacked one too:

    gain           mean of |f(clean) - f(purified attacked)| / f(clean), as in arXiv 2404.06957; lower is better
    quality        mean of (SSIM + PSNR / 80) / 2 between the clean and the purified attacked image; higher is better
    shift          mean of f(purified attacked) - f(clean): what is left of the attack, or what the defense costs
    gain on clean  the same Gain for images that were not attacked

Intervals are 95 % bootstrap ones. f is the metric; a purified image of another size is scored as it is, and resized for
quality.
"""

import argparse
import datetime
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.purify import center, header, psnr, read, row, ssim
from models.attacks.adv_cf import AdvCf
from models.defense import Defense
from models.defenses import parse_defense
from models.metric import Metric
from models.metrics import find_metric

DEFENSES = ("none", "jpeg", "resize", "gaussian-blur", "fcn", "fcn-residual")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs, none of them trained on")
    parser.add_argument("--metric", default="fr-surrogate", help="the metric that is attacked and scores")
    parser.add_argument("--side", type=int, default=299, help="side of the center crops")
    parser.add_argument("--count", type=int, help="at most so many photographs")
    parser.add_argument("--iterations", type=int, default=10, help="of the attack; the paper's 10")
    parser.add_argument("--rate", type=float, default=0.1, help="of the attack; the paper's 0.1")
    parser.add_argument("--defenses", nargs="+", default=DEFENSES, help="names, or JSON with parameters")
    parser.add_argument("--quick", action="store_true", help="two small crops, within half a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.quick:
        options.side, options.count = 160, 2
    metric, attack = find_metric(options.metric), AdvCf(iterations=options.iterations, learning_rate=options.rate)
    photos = [center(photo, options.side) for photo in read(options.photos, options.count)]
    pairs = [(photo, attack(photo, metric)) for photo in photos]
    rows = [judge(parse_defense(text), metric, pairs) for text in options.defenses]
    about: dict[str, Any] = {
        "date": str(datetime.date.today()),
        "machine": platform.processor() or platform.machine(),
        "photographs": len(pairs),
        "side": options.side,
        "metric": f"{metric.card.name} {metric.card.version}",
        "attack": attack.model_dump(mode="json"),
        "changed by the attack": sum(not torch.equal(clean, attacked) for clean, attacked in pairs),
    }
    if options.json:
        print(json.dumps({**about, "defenses": rows}, indent=2))
        return
    print(about, "\n")
    header(*rows[0])
    for one in rows:
        row(one["defense"], *(f"{mean:.3f} ± {half:.3f}" for mean, half in list(one.values())[1:]))


@torch.no_grad()
def judge(defense: Defense, metric: Metric, pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, Any]:
    """Return the figures of one defense: each a mean and half the width of its interval."""
    gains, qualities, shifts, clean_gains = [], [], [], []
    for clean, attacked in pairs:
        truth, purified = float(metric(clean)), defense(attacked)
        size = (clean.shape[2], clean.shape[3])
        image = defense.align(purified, size).images if purified.shape != clean.shape else purified
        identical = bool(torch.equal(image, clean))
        qualities.append((ssim(image, clean) + (150 if identical else psnr(image, clean)) / 80) / 2)
        shifts.append(float(metric(purified)) - truth)
        gains.append(abs(shifts[-1]) / truth)
        clean_gains.append(abs(float(metric(defense(clean))) - truth) / truth)
    columns = {"gain": gains, "quality": qualities, "shift": shifts, "gain on clean": clean_gains}
    return {"defense": defense.name, **{name: interval(values) for name, values in columns.items()}}


def interval(values: Sequence[float]) -> list[float]:
    """Return the mean and half the width of its 95 % bootstrap interval."""
    draws = np.random.default_rng(0).choice(np.asarray(values), (2000, len(values))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return [round(float(np.mean(values)), 4), round(float(high - low) / 2, 4)]


if __name__ == "__main__":
    main()
