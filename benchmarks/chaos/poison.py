"""An image that kills the process that touches it, among others that do not. The site's workers run WORKER."""

from benchmarks.chaos.site import Result, Site, photo
from workers.state.record import MOST_SETBACKS, Status

SEED = 666
WORKER = f"""
import os, signal
from workers import worker
real = worker.execute
def execute(order, *args, **more):
    if order.seed == {SEED}:
        with open(os.environ["PURIFIQA_DATA_DIR"] + "/deaths", "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return real(order, *args, **more)
worker.execute = execute
worker.serve()
"""


def run(here: Site, others: int = 20) -> Result:
    """Order the poison in the middle of harmless jobs."""
    image = photo()
    ids = [here.send(image, defense="jpeg", seed=number).json()["id"] for number in range(others // 2)]
    poison = here.send(image, defense="jpeg", seed=SEED).json()["id"]
    ids += [here.send(image, defense="jpeg", seed=number).json()["id"] for number in range(others - len(ids))]
    here.until(lambda: all(one.status.is_final for one in here.records([*ids, poison])), 120, "all end")
    records, [bad] = here.records(ids), here.records([poison])
    deaths = len((here.folder / "deaths").read_text())
    kept = here.store.path(poison, "input").is_file()
    finished = sum(record.status is Status.FINISHED for record in records)
    code = bad.failure.code if bad.failure else None
    return Result(
        "an image that kills its process each time",
        f"quarantined after {MOST_SETBACKS} tries, its input kept; the others unharmed",
        held=finished == others and code == "worker-lost" and deaths == MOST_SETBACKS and kept,
        measured={"others": others, "finished": finished, "processes killed": deaths, "told as": code},
    )
