"""Two keys, one of which floods: the other hardly notices."""

import statistics
import threading
import time

import httpx2
import pytest
from conftest import served, start_worker

from app.guard.protocol import protocol
from app.main import create_app
from app.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WORKERS, ORDERS, FLOODERS = 2, 12, 1
ORDER = {"defense": "diffpure", "metrics": ""}  # each with a fresh seed: none is answered from the store


@pytest.fixture
def address(settings, keys, tmp_path):
    """The address of a whole service with two workers, which asks for keys."""
    workers = [start_worker(settings, tmp_path / f"worker{n}.log") for n in range(WORKERS)]
    ours = Settings(**settings.model_dump(exclude_unset=True), rate=1000, burst=1000)
    with served(create_app(ours), http=protocol(ours)) as (port, _):
        yield f"http://127.0.0.1:{port}"
    for worker in workers:
        worker.kill()
        worker.wait()


def test_the_other_key_hardly_waits_for_the_flood(address, keys, photo):
    import cv2

    image = cv2.imencode(".jpg", cv2.resize(photo, (256, 192)))[1].tobytes()
    stop, sent, refused = threading.Event(), [], []

    def send(client, who, **headers):
        return client.post("/purify", files={"image": image}, data=ORDER, headers={**keys[who], **headers})

    def latencies():
        times = []
        with httpx2.Client(base_url=address, timeout=120) as client:
            for _ in range(ORDERS):
                started = time.perf_counter()
                answer = send(client, "bob", Prefer="wait=60")
                times.append(time.perf_counter() - started)
                assert answer.status_code == 200, answer.text
        return times

    def flood():
        with httpx2.Client(base_url=address, timeout=120) as client:
            while not stop.is_set():
                answer = send(client, "alice")
                (sent if answer.status_code == 202 else refused).append(answer.status_code)
                if answer.status_code != 202:  # a client that obeys at least a little
                    stop.wait(0.2)

    def p95(times):
        return statistics.quantiles(times, n=20)[-1]

    latencies()
    alone = latencies()
    flooders = [threading.Thread(target=flood) for _ in range(FLOODERS)]
    for thread in flooders:
        thread.start()
    try:
        time.sleep(3)
        beside = latencies()
    finally:
        stop.set()
        for thread in flooders:
            thread.join()
    print(
        f"p50/p95 alone {statistics.median(alone):.3f}/{p95(alone):.3f} s, beside a flood "
        f"{statistics.median(beside):.3f}/{p95(beside):.3f} s ({p95(beside) / p95(alone):.2f}x); "
        f"the flood: {len(sent)} accepted, {len(refused)} refused {sorted(set(refused))}"
    )
    assert len(sent) > 2 * ORDERS, "no flood"
    # Aim: 2 for the p95 too, which is told above. Without turns it would wait for all of the flood, 50 times as long.
    assert statistics.median(beside) <= 4 * statistics.median(alone)
