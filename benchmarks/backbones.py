"""What Linearity and SPAQ cost beside the plain torchvision backbone on the same tensors, with random weights.

`python -m benchmarks.backbones` prints CPU seconds of one thread. The networks are made here, for their cost alone:
no score of theirs means anything, and nothing of the service can reach them.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.iqa import linearity, spaq
from models.iqa.preprocessing import normalized


class Cost(NamedTuple):
    """CPU seconds per image."""

    metric: str
    image: str
    seconds: float
    backbone: str
    backbone_seconds: float

    @property
    def ratio(self) -> float:
        return self.seconds / self.backbone_seconds


def measure(repetitions: int = 3) -> list[Cost]:
    """Return the least CPU time of `repetitions` turns, metric and backbone in turns, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return [_linearity(repetitions), _spaq(repetitions)]
    finally:
        torch.set_num_threads(threads)


def _linearity(repetitions: int) -> Cost:
    from torchvision.models import resnext101_32x8d

    image = torch.rand(1, 3, 498, 664)
    network = linearity.Linearity().eval()
    network.slope, network.intercept = 1.0, 0.0
    plain, tensors = resnext101_32x8d(weights=None).eval(), normalized(image)
    ours, theirs = _in_turns(lambda: linearity.official(network, image), lambda: plain(tensors), repetitions)
    return Cost("linearity", "664x498", ours, "resnext101_32x8d", theirs)


def _spaq(repetitions: int) -> Cost:
    from torchvision.models import resnet50

    image = torch.rand(1, 3, 512, 682)
    network, plain = spaq.Baseline().eval(), resnet50(weights=None).eval()
    seen: list[Tensor] = []

    def remember(patches: Tensor) -> Tensor:
        seen.append(patches)
        return patches.mean((1, 2, 3))

    spaq.official(remember, image)  # type: ignore[arg-type]
    patches = torch.cat(seen)
    ours, theirs = _in_turns(lambda: spaq.official(network, image), lambda: plain(patches), repetitions)
    return Cost("spaq-bl", "682x512", ours, f"resnet50, {len(patches)} patches at once", theirs)


def _in_turns(first: Callable[[], Any], second: Callable[[], Any], repetitions: int) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repetitions):
        for run, seconds in zip((first, second), times, strict=True):
            start = time.process_time()
            run()
            seconds.append(time.process_time() - start)
    return min(times[0]), min(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repetition")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    costs = measure(1 if options.quick else 3)
    if options.json:
        print(json.dumps([{**cost._asdict(), "ratio": cost.ratio} for cost in costs]))
        return
    print(f"{'metric':<10} {'image':<8} {'CPU s':>7}   {'backbone':<30} {'CPU s':>7} {'ratio':>6}")
    for cost in costs:
        ours = f"{cost.metric:<10} {cost.image:<8} {cost.seconds:>7.2f}"
        print(f"{ours}   {cost.backbone:<30} {cost.backbone_seconds:>7.2f} {cost.ratio:>6.3f}")


if __name__ == "__main__":
    main()
