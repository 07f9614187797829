"""The API killed between taking an order in and answering."""

import time

import httpx2

from benchmarks.chaos.site import Result, Site, photo
from workers.recovery.janitor import ACCEPTING_SECONDS, Janitor
from workers.recovery.survey import Survey
from workers.state.record import Status

POINTS = ("before anything is kept", "the image is kept", "the order is kept", "all is kept")
API = """
import os, signal, sys
import app.intake, workers.state.store, workers.state.queue
here = sys.argv.pop(1)
def die(*args, **more): os.kill(os.getpid(), signal.SIGKILL)
if here == "before anything is kept": workers.state.store.Store.put = die
if here == "the image is kept": app.intake.open_manifest = die
if here == "the order is kept": workers.state.queue.JobQueue.submit_all = die
if here == "all is kept":
    real = workers.state.queue.JobQueue.submit_all
    workers.state.queue.JobQueue.submit_all = lambda *args: (real(*args), die())
from app.cli import app as command
command(["api"])
"""


def run(here: Site) -> Result:
    """Kill it at each of the points between which anything is written."""
    command, outcomes = here.api.command, {}
    known = {*here.store.owners()}
    for point in POINTS:
        here.api.stop()
        here.api.command = [command[0], "-P", "-c", API, point]
        here.api.start()
        here.until(lambda: here.http.get("/livez").is_success, 60, "the API is back")
        before = {*here.store.owners()}
        try:
            here.send(photo(), defense="none")
            outcomes[point] = "answered"
        except httpx2.HTTPError:
            outcomes[point] = "no answer"
        here.kill(here.api)
        outcomes[point] += f", {len({*here.store.owners()} - before)} in the store"
    here.api.command = command
    here.until(here.is_ready, 60, "the service is ready")
    time.sleep(ACCEPTING_SECONDS + 1)
    owners = {*here.store.owners()} - known
    Janitor(here.queue, Survey(here.queue.broker.connection), here.store, "trial").tidy_store()
    jobs = [one for one in owners if here.queue.ledger.exists(one)]
    here.until(lambda: all(one.status.is_final for one in here.records(jobs)), 60, "what is a job ends")
    finished = sum(one.status is Status.FINISHED for one in here.records(jobs))
    return Result(
        "API killed between receiving and answering",
        "either no job, or a job that finishes",
        held=finished == len(jobs) == 2 and all(one.startswith("no answer") for one in outcomes.values()),
        measured={"killed at": len(POINTS), "jobs": len(jobs), "finished": finished},
    )
