"""A study from its choices to its tables and report."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from app.bench import pool, remote
from app.bench.cells import Findings, read, write_csv, write_parquet
from app.bench.choices import Choices, draft, settle
from app.bench.folder import Folder, NotKeptError
from app.bench.items import BenchError
from app.bench.parameters import Manifest
from app.bench.perform import Ended
from app.bench.progress import Bar, Estimate
from app.bench.remote import Orders
from app.bench.report import whole
from app.bench.server import Server
from app.bench.units import ATTACK, Unit, units_of
from workers.state.answers import state_of_things


@dataclass(frozen=True)
class Outcome:
    """What became of a study."""

    manifest: Manifest
    findings: Findings
    interrupted: bool
    """By Ctrl-C or because its time was over."""


@dataclass(frozen=True)
class Means:
    """With what a study is done; its numbers do not depend on it."""

    jobs: int | None = None
    """Processes; None: one per core, on a GPU one."""
    minutes: float | None = None
    """After which it stops."""
    server: str | None = None
    """Address of a service that purifies, scores and, if it does, attacks; None: this machine does."""
    in_flight: int = 16
    """Orders that the server has at the same time."""


def run(choices: Choices, version: str, means: Means = Means()) -> Outcome:
    """Do what is not finished of a study, and write its tables and report in any case.

    Raises BenchError for what cannot be done or kept.
    """
    deadline = None if means.minutes is None else time.monotonic() + 60 * means.minutes
    with contextlib.nullcontext() if means.server is None else Server(means.server) as server:
        drafted, folder = draft(choices, version, server), Folder(choices.out)
        try:
            with folder.alone():
                manifest = settle(choices, drafted)
                ahead = _ahead(units_of(manifest.parameters), folder)
                if ahead.waiting:
                    manifest = _worked_in(manifest, folder)
                try:
                    interrupted = not _do(manifest, folder, ahead, means, server, deadline)
                except KeyboardInterrupt:
                    interrupted = True
                except BenchError:
                    _write(manifest, folder)
                    raise
                return Outcome(manifest, _write(manifest, folder), interrupted)
        except (NotKeptError, OSError) as error:
            raise BenchError(f"{pool.CANNOT_KEEP}: {error}. {pool.GO_ON}") from error


def _worked_in(manifest: Manifest, folder: Folder) -> Manifest:
    """Note which code and weights are at work in the folder from now on."""
    if (now := state_of_things()) not in manifest.states:
        manifest = manifest.model_copy(update={"states": (*manifest.states, now)})
        folder.set_manifest(manifest)
    return manifest


def _do(
    manifest: Manifest, folder: Folder, ahead: "Ahead", means: Means, server: Server | None, deadline: float | None
) -> bool:
    device = manifest.parameters.device
    jobs = means.jobs or (1 if device == "cuda" else _cores())
    here = server.attacks_here(manifest.parameters.attacks) if server else {}
    estimate = Estimate(ahead.kinds, jobs)
    with Bar(ahead.total, ahead.total - ahead.kinds.total(), estimate) as bar:

        def tell(unit: Unit, ended: Ended) -> None:
            is_here = server is None or (ended.step == ATTACK and unit.attack and unit.attack.label in here)
            at_once = jobs if is_here else means.in_flight
            estimate.ended(unit.kind_of(ended.step), ended.seconds * jobs / at_once)
            bar.advance()

        if server is None:
            return pool.run(ahead.waiting, folder.root, device, jobs, tell, deadline)
        orders = Orders(server, folder, means.in_flight, here)
        return remote.run(ahead.waiting, orders, device, jobs, tell, bar.say, deadline)


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Ahead(NamedTuple):
    """What is still to be done."""

    waiting: list[Unit]
    """The units with something to do."""
    kinds: Counter[str]
    """How many steps of each kind that is."""
    total: int
    """Steps of all units, done or not."""


def _ahead(units: Iterable[Unit], folder: Folder) -> Ahead:
    waiting: list[Unit] = []
    kinds: Counter[str] = Counter()
    total = 0
    for unit in units:
        finished = folder.finished(unit)
        steps = [unit.kind_of(step) for step in unit.steps if step not in finished]
        total += len(unit.steps)
        kinds.update(steps)
        if steps:
            waiting.append(unit)
    return Ahead(waiting, kinds, total)


def _write(manifest: Manifest, folder: Folder) -> Findings:
    findings = read(manifest, folder)
    write_csv(findings.cells, folder.root / "results.csv")
    write_parquet(findings.cells, folder.root / "results.parquet")
    whole.write(manifest, findings, folder)
    return findings
