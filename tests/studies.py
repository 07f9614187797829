"""Studies done in the process of a test, and what is compared of them."""

import csv

from app.bench.choices import draft, settle
from app.bench.folder import Folder
from app.bench.perform import perform
from app.bench.units import units_of

TIMES = ("ms", "attack_ms")


def settled(choices):
    return settle(choices, draft(choices, "1")), Folder(choices.out)


def performed(choices):
    manifest, folder = settled(choices)
    for unit in units_of(manifest.parameters):
        list(perform(unit, folder, "cpu"))
    return manifest, folder


def table(out):
    with (out / "results.csv").open() as file:
        return [row for row in csv.reader(file) if row[5] not in TIMES]
