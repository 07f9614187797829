"""Whether computing several images at once is faster than one after another: time per image, by the size of the batch.

`python -m benchmarks.batching` purifies and scores batches of 1, 2, 4 and 8 images with what ships. They take turns,
the least of several runs counts. On a CPU it is the CPU time of one thread; on CUDA, the time until the result is here.
Beside each stands how far the first image of the largest batch, or its score, is from the same alone.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.tables import header, row
from models.defenses import parse_defense
from models.metrics import find_metric

SIZES = ((256, 256), (384, 512))
COUNTS = (1, 2, 4, 8)
DEFENSES = {
    "diffpure": "diffpure",
    "diffpure, timestep auto": "diffpure(timestep=auto)",
    "diffpure, ffdnet-pyramid": "diffpure(denoiser=ffdnet-pyramid)",
    "fcn": "fcn",
}
METRICS = ("fr-surrogate",)


def tasks() -> dict[str, Callable[[Tensor], Tensor]]:
    """Return what is measured, each as a function of a batch: the i-th image has the seed i."""
    found: dict[str, Callable[[Tensor], Tensor]] = {}
    for name, text in DEFENSES.items():
        defense = parse_defense(text)
        found[name] = lambda images, defense=defense: defense(images, list(range(len(images))))  # type: ignore[misc]
    return found | {name: find_metric(name) for name in METRICS}


def measure(task: Callable[[Tensor], Tensor], images: Tensor, runs: int) -> tuple[list[float], float]:
    """Return the ms per image for each size of batch, and the largest difference to each image alone."""
    clock = time.perf_counter if images.is_cuda else time.thread_time
    least = dict.fromkeys(COUNTS, float("inf"))
    task(images).cpu()
    for _ in range(runs):
        for count in COUNTS:
            start = clock()
            task(images[:count]).cpu()
            least[count] = min(least[count], (clock() - start) / count * 1000)
    first = task(images[:1])
    return list(least.values()), float((task(images)[:1] - first).abs().max())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="128x128 only, two runs: within 30 s on a free core")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes, runs = ([(128, 128)], 2) if args.quick else (SIZES, args.runs)
    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        for height, width in sizes:
            generator = torch.Generator().manual_seed(0)
            images = torch.rand(max(COUNTS), 3, height, width, generator=generator).to(device)
            for name, task in tasks().items():
                times, difference = measure(task, images, runs)
                rows.append({"size": f"{width}x{height}", "what": name, "ms": times, "difference": difference})
    report = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores", "device": device,
        "date": time.strftime("%Y-%m-%d"), "load": os.getloadavg()[0], "counts": COUNTS, "rows": rows,
    }  # fmt: skip
    if args.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{report['machine']}, {device}, {report['date']}; load {report['load']:.1f}\n")
    header("ms per image", "size", *(f"batch of {count}" for count in COUNTS), "8 over 1", "difference")
    for one in rows:
        times = one["ms"]
        row(one["what"], one["size"], *times, times[-1] / times[0], f"{one['difference']:.1g}")


if __name__ == "__main__":
    main()
