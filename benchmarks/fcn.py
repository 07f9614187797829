"""What the FCN filters are worth against the attack that they were made for: `python -m benchmarks.fcn --photos DIR`.

Every photograph's center is attacked by adv-cf, non-adaptively, at each of `--rates`: the paper's 0.1 oversteps on most
photographs, so that the unchanged one stays the best, and 0.003 does not. Each defense purifies what comes out, and the
photograph itself:

    gain           mean of |f(clean) - f(purified attacked)| / f(clean), as in arXiv 2404.06957; lower is better
    quality        mean of (SSIM + PSNR / 80) / 2 between the clean and the purified attacked image; higher is better
    shift          mean of f(purified attacked) - f(clean): what is left of the attack, or what the defense costs
    gain on clean  the same Gain for images that were not attacked
    adaptive gain  with `--adaptive`: the same Gain when the attack knows the defense and goes through it

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

import torch
from torch import Tensor

from app.bench.items import label_of
from benchmarks.purify import center, read
from benchmarks.tables import header, row
from models.attacks.adv_cf import AdvCf
from models.defense import Defense
from models.defenses import parse_defense
from models.evaluation.bootstrap import bootstrap_mean
from models.evaluation.fidelity import compare
from models.evaluation.gains import gain
from models.metric import Metric
from models.metrics import find_metric

DEFENSES = ("none", "jpeg", "resize", "gaussian-blur", "fcn", "fcn-curves")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs, none of them trained on")
    parser.add_argument("--metric", default="fr-surrogate", help="the metric that is attacked and scores")
    parser.add_argument("--side", type=int, default=299, help="side of the center crops")
    parser.add_argument("--count", type=int, help="at most so many photographs")
    parser.add_argument("--iterations", type=int, default=10, help="of the attack; the paper's 10")
    parser.add_argument("--rates", nargs="+", type=float, default=[0.1, 0.003], help="of the attack; the paper's 0.1")
    parser.add_argument("--defenses", nargs="+", default=DEFENSES, help="such as jpeg or 'jpeg(quality=30)'")
    parser.add_argument("--adaptive", action="store_true", help="attack through each defense too, which takes longer")
    parser.add_argument("--quick", action="store_true", help="two small crops, within half a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.quick:
        options.side, options.count = 160, 2
    metric = find_metric(options.metric)
    photos = [center(photo, options.side) for photo in read(options.photos, options.count)]
    about = {
        "date": str(datetime.date.today()),
        "machine": platform.processor() or platform.machine(),
        "photographs": len(photos),
        "side": options.side,
        "metric": f"{metric.card.name} {metric.card.version}",
    }
    defenses = [parse_defense(text) for text in options.defenses]
    attacks = [AdvCf(iterations=options.iterations, learning_rate=rate) for rate in options.rates]
    found = [against(attack, photos, metric, defenses) for attack in attacks]
    if options.adaptive:
        for attack, one in zip(attacks, found, strict=True):
            for defense, line in zip(defenses, one["defenses"], strict=True):
                line["adaptive gain"] = interval([adaptive_gain(attack, photo, metric, defense) for photo in photos])
    if options.json:
        print(json.dumps({**about, "attacks": found}, indent=2))
        return
    print(about)
    for one in found:
        print(f"\n## adv-cf at {one['attack']['learning_rate']}: changed {one['changed']} photographs\n")
        header(*one["defenses"][0])
        for line in one["defenses"]:
            row(line["defense"], *(f"{mean:.3f} ± {half:.3f}" for mean, half in list(line.values())[1:]))


def against(attack: AdvCf, photos: Sequence[Tensor], metric: Metric, defenses: Sequence[Defense]) -> dict[str, Any]:
    """Return the figures of every defense against one attack."""
    pairs = [(photo, attack(photo, metric)) for photo in photos]
    return {
        "attack": attack.model_dump(mode="json"),
        "changed": sum(not torch.equal(*pair) for pair in pairs),
        "defenses": [judge(defense, metric, pairs) for defense in defenses],
    }


@torch.no_grad()
def judge(defense: Defense, metric: Metric, pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Return the figures of one defense: each a mean and half the width of its interval."""
    gains, qualities, shifts, clean_gains = [], [], [], []
    for clean, attacked in pairs:
        truth, purified = float(metric(clean)), defense(attacked)
        score = float(metric(purified))
        gains.append(gain(truth, score))
        qualities.append(compare(clean, purified).quality)
        shifts.append(score - truth)
        clean_gains.append(gain(truth, float(metric(defense(clean)))))
    columns = {"gain": gains, "quality": qualities, "shift": shifts, "gain on clean": clean_gains}
    return {
        "defense": label_of(defense.model_dump_json()),
        **{name: interval(values) for name, values in columns.items()},
    }


def adaptive_gain(attack: AdvCf, photo: Tensor, metric: Metric, defense: Defense) -> float:
    return gain(float(metric(photo)), float(metric(defense(attack(photo, metric, defense)))))


def interval(values: Sequence[float]) -> list[float]:
    """Return the mean and half the width of its 95 % bootstrap interval; of one value there is none: 0."""
    found = bootstrap_mean(values, range(len(values)))
    half = 0.0 if found.low is None or found.high is None else (found.high - found.low) / 2
    return [round(found.value, 4), round(half, 4)]


if __name__ == "__main__":
    main()
