"""Two API keys, one of which sends as much as it may: the other must hardly notice. Keys have the rates that ship."""

import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from benchmarks.chaos.site import Result, Site, percentile, photo

FLOODING, OTHER = KEYS = ("flooding", "other")
MOST = 2.0
"""How many times its time alone the other key's orders may take."""
ORDER = {"defense": "diffpure", "metrics": ""}  # each with a fresh seed: none is answered from the store
SETTLED_SECONDS, MOST_SECONDS = 3.0, 60.0
FLOODED = 20
"""More orders than this have to wait before the other key is timed: a busy machine takes longer to pile them up."""


def run(here: Site, orders: int = 60) -> Result:
    """Order one after another and wait for each, alone and then beside the flood."""
    image = photo(512, 384)
    _latencies(here, image, 5)
    alone = _latencies(here, image, orders)
    with _flood(here, image) as answers:
        waiting = _piled_up(here)
        beside = _latencies(here, image, orders)
    ratios = {part: percentile(beside, part) / percentile(alone, part) for part in (50, 95)}
    return Result(
        "two API keys, one flooding",
        f"the other's p95 stays within {MOST:g} x of its time alone",
        held=ratios[95] <= MOST and waiting > 0,
        measured={
            "orders": orders,
            "alone p50 s": round(statistics.median(alone), 2),
            "alone p95 s": round(percentile(alone, 95), 2),
            **{f"p{part} x": round(ratio, 2) for part, ratio in ratios.items()},
            "flood": dict(sorted(answers.items())),
            "waiting at first": waiting,
        },
    )


def _latencies(here: Site, image: bytes, orders: int) -> list[float]:
    times = []
    with httpx2.Client(base_url=here.url, timeout=120) as client:
        for _ in range(orders):
            started = time.perf_counter()
            answer = _send(client, image, here.keys[OTHER] | {"Prefer": "wait=60"})
            times.append(time.perf_counter() - started)
            if answer.status_code != httpx2.codes.OK:
                raise RuntimeError(f"an order was answered {answer.status_code}: {answer.text}")
    return times


def _piled_up(here: Site) -> int:
    """Wait until the flood is one, at most MOST_SECONDS; return how many orders wait then."""
    time.sleep(SETTLED_SECONDS)
    deadline = time.monotonic() + MOST_SECONDS
    while (waiting := here.queue.depth()) <= FLOODED and time.monotonic() < deadline:
        time.sleep(0.1)
    return waiting


@contextmanager
def _flood(here: Site, image: bytes) -> Iterator[Counter[int]]:
    """Let the other key send as much as it may, and count the answers."""
    stop, answers = threading.Event(), Counter[int]()

    def send() -> None:
        with httpx2.Client(base_url=here.url, timeout=120) as client:
            while not stop.is_set():
                answer = _send(client, image, here.keys[FLOODING])
                answers[answer.status_code] += 1
                if answer.status_code != httpx2.codes.ACCEPTED:  # it obeys, but only just
                    stop.wait(min(0.5, float(answer.headers.get("retry-after", 0))))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def _send(client: httpx2.Client, image: bytes, headers: dict[str, str]) -> httpx2.Response:
    return client.post("/purify", files={"image": ("x.png", image)}, data=ORDER, headers=headers)
