"""What of the model's own speed is left when it is a service, and whether batching helps.

`python -m benchmarks.service` sends 512x384 photographs to `POST /purify` with diffpure from 8 clients, each of which
waits for its image before it sends the next, and compares with as many processes as there are workers that call the
model in a loop and have nothing else to do: no files, no queue, no HTTP. All take turns, several rounds:

    model      processes that call the defense on a tensor, again and again
    files      the same, from file to file: decode, purify, encode
    unbatched  the service: a real Valkey, one API process, warm workers, one job at a time
    batched    the same, with room for `--batch` images at once in each worker

"CPU ms" is that of all processes per image: it holds also where the machine is busy; its load is told.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from app.command.parts import free_port, service_parts
from benchmarks.overhead import cpu_seconds, percentile, picture, send, wait_for
from benchmarks.tables import header, row

WIDTH, HEIGHT = 512, 384
ORDER = {"defense": "diffpure", "metrics": "", "format": "png"}

Round = Callable[[int], "Run"]


class Run:
    """One turn: how long it took, the CPU seconds, and each image's latency in ms where there is one."""

    def __init__(self, images: int, seconds: float, cpu: float, latencies: list[float]) -> None:
        self.images, self.seconds, self.cpu, self.latencies = images, seconds, cpu, latencies


def call_model(seed: int) -> float:
    """Purify a tensor once; return the CPU seconds it took. Runs in a process of its own."""
    from models.defenses import parse_defense
    from workers.settings import WorkerSettings
    from workers.worker import pick_device

    image = torch.rand(1, 3, HEIGHT, WIDTH, device=pick_device(WorkerSettings().device))
    start = time.process_time()
    with torch.no_grad():
        parse_defense(ORDER["defense"])(image, seed).cpu()
    return time.process_time() - start


def call_files(seed: int) -> float:
    """Purify a file once, as a job does; return the CPU seconds it took."""
    from models.defenses import parse_defense
    from workers.jobs import execute
    from workers.orders import DefenseOrder, Kind
    from workers.settings import WorkerSettings
    from workers.worker import pick_device

    data, start = picture(), time.process_time()
    order = DefenseOrder(kind=Kind.PURIFY, defense=parse_defense(ORDER["defense"]), seed=seed)
    execute(order, data, device=pick_device(WorkerSettings().device))
    return time.process_time() - start


def stand_alone() -> None:
    """Let this process be scheduled as a worker is: Linux shares a busy machine out among sessions."""
    os.setsid()
    torch.set_num_threads(1)


@contextmanager
def loop(work: Callable[[int], float], processes: int) -> Iterator[Round]:
    """Yield what calls `work` in a loop in so many processes."""
    with multiprocessing.get_context("spawn").Pool(processes, stand_alone) as pool:
        pool.map(work, range(4 * processes), chunksize=1)  # models are loaded now

        def run(images: int) -> Run:
            start = time.perf_counter()
            cpu = sum(pool.imap_unordered(work, range(images)))
            return Run(images, time.perf_counter() - start, cpu, [])

        yield run


@contextmanager
def service(workers: int, batch_pixels: int, clients: int) -> Iterator[Round]:
    """Run broker, API and workers; yield what sends images to them."""
    with tempfile.TemporaryDirectory(prefix="purifiqa-bench-") as folder, ExitStack() as stack:
        port = free_port("127.0.0.1")
        url = f"http://127.0.0.1:{port}"
        settings = {"PURIFIQA_DEFAULT_METRICS": "", "PURIFIQA_LOG_LEVEL": "WARNING"}
        settings |= {"PURIFIQA_BATCH_PIXELS": str(batch_pixels), "PURIFIQA_REUSE_RESULTS": "false"}
        parts = service_parts(Path(folder) / "valkey.sock", Path(folder), "127.0.0.1", port, workers)
        for part in parts:
            part.environment |= settings
            part.start()
            stack.callback(part.stop)
        wait_for(f"{url}/readyz")
        processes = [psutil.Process(part.process.pid) for part in parts if part.process]

        def run(images: int) -> Run:
            before = sum(map(cpu_seconds, processes))
            seconds, latencies = asyncio.run(send(url, images, clients, lambda number: ORDER | {"seed": str(number)}))
            return Run(images, seconds, sum(map(cpu_seconds, processes)) - before, latencies)

        run(2 * max(workers, clients))  # every worker is ready and awake now
        yield run


def summary(runs: list[Run]) -> dict[str, float | None]:
    """Return the figures of one kind over all rounds."""
    latencies = [one for run in runs for one in run.latencies]
    images = sum(run.images for run in runs)
    return {
        "images_per_second": images / sum(run.seconds for run in runs),
        "cpu_ms_per_image": sum(run.cpu for run in runs) / images * 1000,
        "p50_ms": percentile(latencies, 50) if latencies else None,
        "p95_ms": percentile(latencies, 95) if latencies else None,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24, help="per kind and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4, help="images for which a batching worker has room")
    parser.add_argument("--quick", action="store_true", help="one round of 8 images: within 30 s on two free cores")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    images, rounds = (8, 1) if args.quick else (args.images, args.rounds)
    loads = [os.getloadavg()[0]]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ExitStack() as stack:
        kinds: dict[str, Round] = {
            "model": stack.enter_context(loop(call_model, args.workers)),
            "files": stack.enter_context(loop(call_files, args.workers)),
            "unbatched": stack.enter_context(service(args.workers, 0, args.clients)),
            "batched": stack.enter_context(service(args.workers, args.batch * WIDTH * HEIGHT, args.clients)),
        }
        runs: dict[str, list[Run]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind, run in kinds.items():
                runs[kind].append(run(images))
                loads.append(os.getloadavg()[0])
    figures = {kind: summary(those) for kind, those in runs.items()}
    report: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "date": time.strftime("%Y-%m-%d"),
        "clients": args.clients, "workers": args.workers, "images": images * rounds, "batch": args.batch,
        "load": {"before": loads[0], "median": statistics.median(loads)},
        "kinds": figures,
    }  # fmt: skip
    for kind in ("unbatched", "batched"):
        for peer in ("model", "files"):
            report[f"{kind}_over_{peer}"] = ratio(figures[kind], figures[peer], "images_per_second")
            report[f"cpu_of_{peer}_over_{kind}"] = ratio(figures[peer], figures[kind], "cpu_ms_per_image")
    report["batched_over_unbatched"] = ratio(figures["batched"], figures["unbatched"], "images_per_second")
    print(json.dumps(report, indent=2)) if args.json else print_tables(report)


def ratio(one: dict[str, float | None], other: dict[str, float | None], name: str) -> float:
    """Return how many times as large a figure of one kind is as that of another."""
    return (one[name] or 0.0) / (other[name] or 1.0)


def print_tables(report: dict[str, Any]) -> None:
    """Print the report for people."""
    print(f"{report['machine']}, {report['device']}, {report['date']}; load {report['load']['median']:.1f}")
    print(f"{report['clients']} clients, {report['workers']} workers, {report['images']} images of {WIDTH}x{HEIGHT}\n")
    header("", "images/s", "CPU ms per image", "p50 ms", "p95 ms", "rate over model's", "rate over files'")
    for kind, figures in report["kinds"].items():
        rates = [report.get(f"{kind}_over_{peer}", "-") for peer in ("model", "files")]
        row(kind, *("-" if value is None else value for value in figures.values()), *rates)
    print(f"\nbatched over unbatched: {report['batched_over_unbatched']:.2f}")


if __name__ == "__main__":
    main()
