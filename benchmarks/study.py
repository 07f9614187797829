"""How much sooner `purifiqa bench` is done in two processes than in one: the same study, each from nothing.

`python -m benchmarks.study --photos DIR` runs a small study with one process and with two, one after the other, and
prints the time of each from the first step to the last: processes load torch for seconds before that, which a study of
hours does not notice; the whole time is beside it. Two free cores are needed for the figure to mean anything: the load
of the machine when it began is told.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

from app.bench import pool
from app.bench.choices import Choices, draft, settle
from app.bench.perform import Ended
from app.bench.units import Unit, units_of

DEFENSES = "jpeg,median-blur,gaussian-blur,flip,diffpure"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs of at least 299x299")
    parser.add_argument("--metric", default="fr-surrogate")
    parser.add_argument("--attacks", default="ifgsm", help="as of purifiqa bench")
    parser.add_argument("--quick", action="store_true", help="four photographs instead of sixteen")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    load, figures = os.getloadavg()[0], {}
    for jobs in (1, 2):
        figures[jobs] = measure(given.photos, given.metric, given.attacks, 4 if given.quick else 16, jobs)
    steps = {jobs: working for jobs, (working, _) in figures.items()}
    speed_up = steps[1] / steps[2]
    found = {
        "machine": platform.processor() or platform.machine(),
        "load_before": load,
        "seconds": steps,
        "seconds_in_all": {jobs: whole for jobs, (_, whole) in figures.items()},
        "speed_up": speed_up,
    }
    if given.json:
        print(json.dumps(found))
        return
    print(f"load before: {load:.2f}\n\n| processes | seconds, first step to last | seconds in all |\n|---|---|---|")
    for jobs, (working, whole) in figures.items():
        print(f"| {jobs} | {working:.1f} | {whole:.1f} |")
    print(f"\nspeed-up {speed_up:.2f}")


def measure(photos: Path, metric: str, attacks: str, count: int, jobs: int) -> tuple[float, float]:
    """Return the seconds from the beginning of the first step to the end of the last, and those of all of it."""
    with tempfile.TemporaryDirectory() as out:
        choices = Choices(
            photos, Path(out), attacks=attacks, defenses=DEFENSES, metrics=metric, size="299x299", limit=count
        )
        parameters = settle(choices, draft(choices, "benchmark")).parameters
        begun: list[float] = []
        ended: list[float] = []

        def tell(unit: Unit, step: Ended) -> None:
            if step.failed:
                raise SystemExit(f"{unit.place}, {step.step} failed")
            ended.append(time.monotonic())
            begun.append(ended[-1] - step.seconds)

        start = time.monotonic()
        pool.run(units_of(parameters), Path(out), parameters.device, jobs, tell)
        return max(ended) - min(begun), time.monotonic() - start


if __name__ == "__main__":
    main()
