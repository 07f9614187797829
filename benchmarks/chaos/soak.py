"""Many orders of every kind, good and bad, and what is left of them."""

import os
import struct
import time
import zlib
from collections import Counter

import httpx2
import numpy as np
import psutil

from benchmarks.chaos.site import Result, Site, photo
from workers.state.keys import BROKER, HOUSEKEEPING, MEASURES, NEXT_ROUNDS, PACE, RECONCILING, ROUNDS, STORE, TOTALS
from workers.state.ledger import JobExpiredError, JobUnknownError

IN_FLIGHT = 16
RESULT_TTL = 8
GROWTH_MB = 30
SAMPLES = 40
SETTINGS = {"result_ttl": RESULT_TTL, "queue_ttl": 3600}
NOTES = b"purifiqa:expired:"
CONSTANT = (
    *(key.encode() for key in (RECONCILING, HOUSEKEEPING, TOTALS, BROKER, MEASURES, STORE, PACE, ROUNDS, NEXT_ROUNDS)),
    b"rq:queues",
)
"""Keys of which there is one each, however many jobs; they may come and go."""


def run(here: Site, jobs: int = 10_000) -> Result:
    """Send orders that finish, fail, are canceled, are erased, expire, or are refused, and count what remains."""
    before, told = _left(here), Counter[str]()
    images = [photo(96, 64, seed) for seed in range(4)]
    pending: list[tuple[str, int]] = []
    memory: list[tuple[int, list[float]]] = []
    for number in range(jobs):
        if number % max(1, jobs // SAMPLES) == 0:
            memory.append((number, _memory(here)))
        answer = _order(here, number, images)
        told[str(answer.status_code)] += 1
        if answer.status_code == httpx2.codes.ACCEPTED:
            pending.append((answer.json()["id"], number))
            _spoil(here, *pending[-1])
        while len(pending) > IN_FLIGHT:
            _settle(here, *pending.pop(0), told)
    while pending:
        _settle(here, *pending.pop(0), told)
    memory.append((jobs, _memory(here)))
    time.sleep(RESULT_TTL + 1)

    def is_gone() -> bool:
        here.redis.delete(HOUSEKEEPING)  # the janitor's next round is due now, and not in five minutes
        return _left(here) <= before

    try:
        here.until(is_gone, 60, "all is gone")
    except TimeoutError:
        told["left"] = len(_left(here) - before)
    names = ["api", *(worker.name for worker in here.workers)]
    slopes = dict(zip(names, _slopes(memory), strict=True))
    growth = max(slopes.values()) * jobs / 1000
    notes = sum(1 for _ in here.redis.scan_iter(NOTES.decode() + "*"))
    return Result(
        f"{jobs} orders: finished, failed, canceled, erased, expired, refused",
        "keys and files return to the baseline; memory flat",
        held=not told["left"] and not told["500"] and growth < GROWTH_MB,
        measured={
            **dict(sorted(told.items())),
            "keys and files left": told["left"],
            **({"for example": sorted(_left(here) - before)[:5]} if told["left"] else {}),
            "notes of expired jobs, kept a week": notes,
            "MB per 1000 orders": {name: round(slope, 2) for name, slope in slopes.items()},
        },
    )


def _order(here: Site, number: int, images: list[bytes]) -> httpx2.Response:
    image, seed = images[number % len(images)], number
    match number % 10:
        case 6:
            return here.send(_bomb(), defense="none")
        case 7:
            return here.send(b"no image at all", defense="none")
        case 8:
            return here.send(image, path="/score", metrics="entropy", defense="random-noise", samples=2, seed=seed)
        case 9:
            return here.send(image, defense="fcn", seed=seed)
        case kind:
            return here.send(image, defense=("none", "jpeg", "flip")[kind % 3], seed=seed)


def _spoil(here: Site, job_id: str, number: int) -> None:
    """Cancel one in ten, and take the image of another from the store: if it has not begun yet, it fails."""
    if number % 10 == 5:
        here.http.post(f"/jobs/{job_id}/cancel")
    if number % 10 == 4:
        here.store.drop(job_id, "input")


def _settle(here: Site, job_id: str, number: int, told: Counter[str]) -> None:
    """Erase it once it has ended, or let it expire."""
    try:
        here.until(lambda: here.queue.ledger.get(job_id).status.is_final, 60, "a job ends")
        told[here.queue.ledger.get(job_id).status] += 1
        if number % 2:
            here.http.delete(f"/jobs/{job_id}")
    except (JobExpiredError, JobUnknownError):
        told["expired meanwhile"] += 1


def _left(here: Site) -> set[str]:
    """Return the names of all keys and files, but for the notes that remember expired jobs, which end by themselves."""
    keys = {key.decode() for key in here.redis.scan_iter(count=1000) if not key.startswith((NOTES, *CONSTANT))}
    shelves = [here.folder / name for name in ("blobs", "jobs", "incoming")]
    tree = [entry for shelf in shelves for entry in os.walk(shelf)]  # it may vanish while it is walked
    files = {f"{folder}/{name}" for folder, folders, names in tree for name in [*folders, *names]}
    return keys | {path for path in files if len(path.rpartition("/")[2]) > 2}  # but for the 256 folders of each shelf


def _memory(here: Site) -> list[float]:
    parts = [here.api, *here.workers]
    return [psutil.Process(part.process.pid).memory_info().rss / 1e6 if part.process else 0.0 for part in parts]


def _slopes(memory: list[tuple[int, list[float]]]) -> list[float]:
    """Return each process's growth in MB per 1000 orders, without the first fifth, in which caches fill."""
    later = memory[len(memory) // 5 :]
    numbers = np.array([number for number, _ in later]) / 1000
    return [float(np.polyfit(numbers, [sizes[i] for _, sizes in later], 1)[0]) for i in range(len(memory[0][1]))]


def _bomb() -> bytes:
    """Return a PNG of a few bytes that says it is of 2500 megapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 1000)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
