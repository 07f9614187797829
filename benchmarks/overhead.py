"""What the service costs per job, beside the same jobs on RQ's default forking worker.

`python -m benchmarks.overhead` starts an embedded Valkey, one API process and two workers, and sends jobs through HTTP:
half `none`, half `jpeg`, a 512x384 JPEG in and `format=jpeg` out, each with `Prefer: wait`. Three kinds of workers take
turns on the same machine in the same run:

    warm               ours: `purifiqa worker`
    forking, preloaded rq.Worker in a process that has imported torch and our code before it forks for each job
    forking, stock     rq.Worker as `rq worker` starts it: every job's child imports what it needs

"CPU ms" is that of broker, API and workers per job: it holds also where the machine is busy with other things. The same
order is also carried out in this process, without any service, to tell what the service adds.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np
import psutil
import torch

from app.command.parts import free_port, service_parts

STOCK = """
import sys
from redis import Redis
from rq import Worker
if sys.argv[2] == "preloaded":
    import workers.worker
    workers.worker.warm_up(workers.worker.context())
Worker(["purifiqa"], connection=Redis.from_url(sys.argv[1]), serializer="json", log_job_description=False).work(
    logging_level="ERROR")
"""


def picture() -> bytes:
    """Return a 512x384 JPEG, photo-like in size and detail."""
    y, x = np.mgrid[0:384, 0:512].astype(np.float64)
    shade = np.stack([128 + 90 * np.sin(x / 60), 110 + 80 * np.cos(y / 45), 60 + 0.3 * x], axis=-1)
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 40, shade.shape), (0, 0), 1.5)
    image = np.clip(shade + grain, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


@contextmanager
def service(kind: str, workers: int) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Run broker, API and workers of this kind; yield the URL and the processes."""
    with tempfile.TemporaryDirectory(prefix="purifiqa-bench-") as folder:
        broker, port = Path(folder) / "valkey.sock", free_port("127.0.0.1")
        parts = service_parts(broker, Path(folder), "127.0.0.1", port, workers if kind == "warm" else 0)
        os.environ |= {
            "PURIFIQA_DEFAULT_METRICS": "", "PURIFIQA_LOG_LEVEL": "WARNING", "PURIFIQA_REUSE_RESULTS": "false",
        }  # fmt: skip
        for part in parts:
            part.start()
        environment = {**os.environ, **parts[-1].environment}
        command = [sys.executable, "-P", "-c", STOCK, f"unix://{broker}", kind]
        url = f"http://127.0.0.1:{port}"
        forking: list[subprocess.Popen[bytes]] = []
        try:
            wait_for(f"{url}/livez")
            if kind == "warm":
                wait_for(f"{url}/readyz")
            else:
                forking = [subprocess.Popen(command, env=environment, start_new_session=True) for _ in range(workers)]
            asyncio.run(send(url, 2 * workers, workers))  # everybody is awake now
            started = [*(part.process for part in parts), *forking]
            yield url, [psutil.Process(process.pid) for process in started if process]
        finally:
            for process in forking:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for part in reversed(parts):
                part.stop()


def wait_for(url: str) -> None:
    """Return when `url` answers with success."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx2.get(url).is_success:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{url} did not become ready")


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process, its finished children included."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def cheap(number: int) -> dict[str, str]:
    """Return the fields of an order that costs next to nothing."""
    return {"defense": ("none", "jpeg")[number % 2], "metrics": "", "format": "jpeg", "seed": str(number)}


async def send(
    url: str, jobs: int, clients: int, fields: Callable[[int], dict[str, str]] = cheap
) -> tuple[float, list[float]]:
    """Send `jobs` orders from so many clients; return the seconds it took and each job's latency in ms.

    `fields` gives the fields of an order by its number.
    """
    image, latencies, numbers = picture(), [], iter(range(jobs))

    async def client(session: httpx2.AsyncClient) -> None:
        for number in numbers:
            order = fields(number)
            media_type = f"image/{order['format']}"
            start = time.perf_counter()
            answer = await session.post(
                "/purify", data=order, files={"image": ("x.jpg", image)},
                headers={"Prefer": "wait=60", "Accept": media_type},
            )  # fmt: skip
            latencies.append((time.perf_counter() - start) * 1000)
            if answer.status_code != httpx2.codes.OK or answer.headers["content-type"] != media_type:
                raise RuntimeError(f"job {number}: {answer.status_code} {answer.text[:200]}")

    async with httpx2.AsyncClient(base_url=url, timeout=90) as session:
        start = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        return time.perf_counter() - start, latencies


def in_process(jobs: int) -> list[float]:
    """Carry the same orders out without a service; return each one's ms."""
    from models.defenses import parse_defense
    from models.images import ImageFormat
    from workers.jobs import execute
    from workers.orders import DefenseOrder, Kind

    torch.set_num_threads(1)
    image, times = picture(), []
    for number in range(jobs):
        defense = parse_defense(("none", "jpeg")[number % 2])
        start = time.perf_counter()
        execute(DefenseOrder(kind=Kind.PURIFY, defense=defense, format=ImageFormat.JPEG), image)
        times.append((time.perf_counter() - start) * 1000)
    return times


def percentile(values: list[float], percent: int) -> float:
    """Return the `percent`-th percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a hundred jobs, no stock worker: within 30 s")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    jobs = 100 if args.quick else args.jobs
    plan = [("warm", jobs), ("preloaded", jobs if not args.quick else 60)]
    if not args.quick:
        plan.append(("stock", max(8, jobs // 50)))
    rows: list[dict[str, Any]] = []
    for kind, count in plan:
        with service(kind, args.workers) as (url, processes):
            before = sum(map(cpu_seconds, processes))
            seconds, latencies = asyncio.run(send(url, count, args.clients))
            cpu = sum(map(cpu_seconds, processes)) - before
            _, alone = asyncio.run(send(url, min(count, 200), 1))
        row: dict[str, Any] = {
            "workers": kind,
            "jobs": count,
            "jobs_per_second": count / seconds,
            "cpu_ms_per_job": cpu / count * 1000,
        }
        row |= {"p50_ms": percentile(latencies, 50), "p99_ms": percentile(latencies, 99)}
        rows.append(row | {"p50_ms_one_client": percentile(alone, 50)})
    direct = percentile(in_process(200)[20:], 50)
    report: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
        "clients": args.clients,
        "worker_processes": args.workers,
        "rows": rows,
        "in_process_p50_ms": direct,
        "added_p50_ms": rows[0]["p50_ms_one_client"] - direct,
        "rate_over_preloaded": rows[0]["jobs_per_second"] / rows[1]["jobs_per_second"],
    }
    if not args.quick:
        report["rate_over_stock"] = rows[0]["jobs_per_second"] / rows[2]["jobs_per_second"]
    if args.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{report['machine']}, {report['date']}; {args.clients} clients, {args.workers} workers")
    columns = ("jobs_per_second", "cpu_ms_per_job", "p50_ms", "p99_ms", "p50_ms_one_client")
    print(f"{'workers':>12} {'jobs':>6}" + "".join(f" {name:>18}" for name in columns))
    for row in rows:
        print(f"{row['workers']:>12} {row['jobs']:>6}" + "".join(f" {row[name]:>18.1f}" for name in columns))
    print(f"the same order without a service: p50 {direct:.1f} ms; the service adds {report['added_p50_ms']:.1f} ms")
    print(f"rate over forking, preloaded: {report['rate_over_preloaded']:.1f} x")
    if not args.quick:
        print(f"rate over forking, stock: {report['rate_over_stock']:.1f} x")


if __name__ == "__main__":
    main()
