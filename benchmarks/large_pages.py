"""What it is worth that the command lets torch ask for large pages (`LARGE_PAGES` in `app/cli`).

`python -m benchmarks.large_pages` scores and attacks noise of several sizes with the metric that ships, in two
processes that take turns, one of which may. It prints CPU milliseconds of one thread (the least), how many pages were
asked for (the median), and what both processes hold. Where the system gives no large pages both are alike.
"""

import argparse
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection

import torch

from app.cli import LARGE_PAGES
from benchmarks.tables import header, row, show
from models.attacks.ifgsm import Ifgsm
from models.metrics import find_metric
from workers.process.memory import give_back, resident_megabytes

SIZES = ((299, 299), (512, 384), (1280, 746))
"""(width, height)."""
MEGA = 1_000_000

Sides = Mapping[bool, Connection]
"""By whether it may ask for large pages, a process."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one turn")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    about = {"machine": platform.processor() or platform.machine(), "load before": os.getloadavg()[0]}
    sides, turns = {may: _start(may) for may in (False, True)}, 1 if given.quick else given.turns
    show(about, {"time": lambda: _time(sides, turns), "memory": lambda: _memory(sides)}, as_json=given.json)


def _start(may: bool) -> Connection:  # noqa: FBT001
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    name, value = LARGE_PAGES
    os.environ[name] = value if may else "0"
    spawn.Process(target=_serve, args=(theirs,), daemon=True).start()
    return ours


def _time(sides: Sides, turns: int) -> None:
    header("what", "size", "CPU ms", "pages", "CPU ms, large", "pages, large", "ratio")
    for size in SIZES:
        for what in ("score", "attack"):
            found: dict[bool, list[tuple[float, int]]] = {False: [], True: []}
            for _ in range(turns + 1):
                for may, side in sides.items():
                    side.send((what, *size))
                    found[may].append(side.recv())
            (plain, pages), (large, large_pages) = (_usual(found[may][1:]) for may in (False, True))
            row(what, "x".join(map(str, size)), plain, pages, large, large_pages, large / plain)


def _memory(sides: Sides) -> None:
    header("pages", "MB at most", "MB at the end", "MB after giving back")
    for may, side in sides.items():
        side.send(None)
        row("large" if may else "of 4 kB", *side.recv())


def _usual(turns: list[tuple[float, int]]) -> tuple[float, int]:
    times, pages = zip(*turns, strict=True)
    return min(times), int(statistics.median(pages))


def _serve(connection: Connection) -> None:
    torch.set_num_threads(1)
    metric, attack = find_metric("fr-surrogate"), Ifgsm(iterations=3)
    while order := connection.recv():
        what, width, height = order
        images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        pages, begun = _pages(), time.process_time()
        if what == "score":
            with torch.no_grad():
                metric(images)
        else:
            attack(images, metric)
        connection.send((1000 * (time.process_time() - begun), _pages() - pages))
    most, held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // MEGA, resident_megabytes()
    give_back()
    connection.send((most, held, resident_megabytes()))


def _pages() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    main()
