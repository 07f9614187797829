"""The broker killed or stopped while orders come in and workers work."""

import itertools
import signal
import threading
import time
from dataclasses import dataclass, field

import httpx2

from benchmarks.chaos.site import Result, Site, photo
from workers.state.record import Status

DEFENSES = ("none", "jpeg", "diffpure(sampler=ddim, steps=2)")


@dataclass
class Load:
    """A client that goes on ordering, and notes what it was told."""

    here: Site
    pause: float
    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Order until told to stop."""
        image = photo()
        with httpx2.Client(base_url=self.here.url, timeout=60) as http:
            for number in itertools.count():
                if self.stopping.wait(self.pause):
                    return
                fields = {"defense": DEFENSES[number % len(DEFENSES)], "metrics": "", "seed": str(number)}
                answer = http.post("/purify", files={"image": ("x.png", image)}, data=fields)
                if answer.status_code == httpx2.codes.ACCEPTED:
                    self.accepted.append(answer.json()["id"])
                elif answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE and "retry-after" in answer.headers:
                    self.refused.append(answer.json()["code"])
                else:
                    self.odd.append(f"{answer.status_code} {answer.text[:80]}")


def run(here: Site, seconds: float, how: str, pause: float = 0.3) -> Result:
    """Take the broker away for some seconds: `killed` (SIGKILL), `stopped` (SIGTERM) or `frozen` (SIGSTOP)."""
    load = Load(here, pause)
    client = threading.Thread(target=load.run)
    client.start()
    here.until(lambda: len(load.accepted) >= 8, 60, "orders are accepted")
    pids = [part.process.pid for part in here.workers if part.process]
    _take_away(here, how, seconds)
    back = time.monotonic()
    before = len(load.accepted)
    here.until(lambda: len(load.accepted) > before, 60, "orders are accepted again")
    accepted_after = time.monotonic() - back
    time.sleep(1)
    load.stopping.set()
    client.join()
    ended = _all_ended(here, load.accepted)
    records = here.records(load.accepted)
    finished = sum(record.status is Status.FINISHED for record in records)
    same = [part.process.pid for part in here.workers if part.process] == pids
    return Result(
        f"broker {how}, away for {seconds:g} s, under load",
        "nothing accepted is lost; 503 with Retry-After meanwhile; services recover unaided",
        held=finished == len(load.accepted) and not load.odd and ended >= 0,
        measured={
            "accepted": len(load.accepted),
            "finished": finished,
            "answered 503": len(load.refused),
            "other answers": len(load.odd),
            "accepting again after s": round(accepted_after, 1),
            "all ended after s": round(ended, 1),
            "workers restarted": not same,
        },
    )


def lost(here: Site) -> Result:
    """Take away all that the broker knows."""
    image = photo()
    done = [here.send(image, defense="none", seed=number).json()["id"] for number in range(4)]
    here.until(lambda: all(one.status.is_final for one in here.records(done)), 60, "jobs are done")
    for worker in here.workers:
        here.down.add(worker.name)
        worker.stop(at_once=True)
    waiting = [here.send(image, defense="none", seed=number).json()["id"] for number in range(4)]
    here.http.delete(f"/jobs/{done[0]}")
    here.redis.flushall()
    _take_away(here, "killed", 0.1)
    here.down.clear()
    begun = time.monotonic()
    here.until(lambda: all(here.queue.ledger.exists(one) for one in done[1:] + waiting), 90, "jobs are restored")
    restored = time.monotonic() - begun
    ended = _all_ended(here, waiting)
    images = [here.http.get(f"/jobs/{one}/image").status_code for one in done[1:] + waiting]
    risen = here.queue.ledger.exists(done[0])
    return Result(
        "broker loses all its data",
        "finished and waiting jobs are restored from the store, erased ones are not",
        held=set(images) == {httpx2.codes.OK} and ended >= 0 and not risen,
        measured={"restored after s": round(restored, 1), "images served": len(images), "erased and risen": risen},
    )


def _take_away(here: Site, how: str, seconds: float) -> None:
    process = here.broker.process
    if process is None:
        raise RuntimeError("the broker does not run")
    here.down.add(here.broker.name)
    if how == "killed":
        here.kill(here.broker)
    else:
        process.send_signal({"stopped": signal.SIGTERM, "frozen": signal.SIGSTOP}[how])
        if how == "stopped":
            process.wait(20)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        here.tend()
        time.sleep(0.1)
    if how == "frozen":
        process.send_signal(signal.SIGCONT)
    here.down.discard(here.broker.name)
    here.tend()


def _all_ended(here: Site, job_ids: list[str]) -> float:
    """Return after how many seconds all have ended; -1: they do not."""
    begun = time.monotonic()
    try:
        here.until(lambda: all(record.status.is_final for record in here.records(job_ids)), 120, "all end")
    except TimeoutError:
        return -1
    return time.monotonic() - begun
