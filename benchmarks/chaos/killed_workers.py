"""Workers killed at random moments while they work through a queue."""

import os
import signal
import time
from typing import Any

import httpx2

from benchmarks.chaos.site import Result, Site, percentile, photo, rng
from workers.state.keys import job_keys
from workers.state.record import Status

DEFENSE = "diffpure(sampler=ddim, steps=2)"
RECOVERY_SECONDS = 10


def run(here: Site, jobs: int = 100, every: tuple[float, float] = (1.5, 5.0), seed: int = 0) -> Result:
    """Kill a worker every few seconds until all jobs have ended.

    The first is killed in a job, so that there is one to recover however fast the machine is; the others at whatever
    they do. A job that has lost its worker once is spared: killed twice it is quarantined, as promised elsewhere.
    The last worker that is ready is spared too: what would be measured is how long a process takes to import torch.
    It begins when the broker has run for a lease: before, nobody is taken for dead, as all may be on their way back.
    """
    moments = rng(seed)
    here.until(
        lambda: here.broker_uptime() > here.settings.lease + 1,
        here.settings.lease + 60,
        "the broker has run for a lease",
    )
    counted = sum(here.queue.presence.totals().values())
    ids = [here.send(photo(), defense=DEFENSE, seed=number).json()["id"] for number in range(jobs)]
    hit: dict[str, tuple[float, int]] = {}
    found: dict[str, float] = {}
    recovered: dict[str, float] = {}
    kills, next_kill = 0, time.monotonic() + moments.uniform(*every)
    deadline = time.monotonic() + 120 + 10 * jobs
    while not all(record.status.is_final for record in here.records(ids)) and time.monotonic() < deadline:
        here.tend()
        _note_recoveries(here, hit, found, recovered)
        if time.monotonic() > next_kill:
            killed = _kill_one(here, here.workers[moments.randrange(len(here.workers))], hit)
            kills += killed
            next_kill = time.monotonic() + (moments.uniform(*every) if killed else 0.05)
        time.sleep(0.05)
    _note_recoveries(here, hit, found, recovered)
    records = here.records(ids)
    finished = sum(record.status is Status.FINISHED for record in records)
    images = [here.http.get(f"/jobs/{one}/image").status_code for one in ids]
    endings = [_endings(here, one) for one in ids]
    counted = sum(here.queue.presence.totals().values()) - counted
    times = [recovered[job] for job in hit if job in recovered]
    p95 = percentile(times, 95)
    return Result(
        "worker killed (SIGKILL) every few seconds",
        f"all jobs finish, none twice visibly; p95 recovery under {RECOVERY_SECONDS} s",
        held=finished == jobs == counted
        and set(endings) == {1}
        and set(images) == {httpx2.codes.OK}
        and len(times) == len(hit)
        and p95 < RECOVERY_SECONDS,
        measured={
            "jobs": jobs,
            "finished": finished,
            "images": images.count(httpx2.codes.OK),
            "kills": kills,
            "kills in a job": len(hit),
            "ended twice": sum(one > 1 for one in endings),
            "found p95 s": round(percentile(list(found.values()), 95), 1),
            "recovery p50 s": round(percentile(times, 50), 1),
            "recovery p95 s": round(p95, 1),
        },
    )


def _kill_one(here: Site, worker: object, hit: dict[str, tuple[float, int]]) -> int:
    part = next(one for one in here.workers if one is worker)
    if part.process is None or part not in (ready := here.ready_workers()) or len(ready) < 2:
        return 0
    os.kill(part.process.pid, signal.SIGSTOP)  # so that it does not go on while we look
    record = here.job_of(part)
    if (record is None and not hit) or (record is not None and record.setbacks):
        os.kill(part.process.pid, signal.SIGCONT)
        return 0
    here.kill(part)
    if record is not None:
        hit[record.id] = (time.time(), record.placement)
    return 1


def _note_recoveries(
    here: Site, hit: dict[str, tuple[float, int]], found: dict[str, float], recovered: dict[str, float]
) -> None:
    for job_id, (killed, placement) in hit.items():
        if job_id not in recovered:
            record = here.queue.ledger.get(job_id)
            if record.placement > placement:
                found.setdefault(job_id, time.time() - killed)
            if record.started is not None and record.started > killed and record.placement > placement:
                recovered[job_id] = record.started - killed


def _endings(here: Site, job_id: str) -> int:
    events: Any = here.redis.xrange(job_keys(job_id).events)
    return sum(Status(event[b"status"].decode()).is_final for _, event in events)
