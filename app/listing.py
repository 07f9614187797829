"""What the command prints: tables for people, JSON and CSV for programs."""

import csv
import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from app.batch import Results


def results(found: Results, form: str) -> None:
    """Print what became of every file, as `json`, `csv`, `table` or `files`."""
    if form == "json":
        entries: list[dict[str, Any]] = []
        for one in found.done:
            place = {"output": str(one.output)} if one.output else {}
            entries.append(
                {"file": str(one.file), **place, "scores": one.scores, "seed": one.seed, "defense": one.defense}
            )
        print(json.dumps(entries, indent=2))
    elif form == "csv":
        names = ["file", "metric", "original", "defended", "shift", "samples", "higher_is_better", "version", "seed"]
        writer = csv.DictWriter(sys.stdout, [*names, "defense"], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for one in found.done:
            for score in one.scores:
                row = {**score, "file": one.file, "seed": one.seed, "defense": json.dumps(one.defense)}
                writer.writerow(row)
    elif form == "table":
        table = Table("file", "metric", "better", "before", "after", "shift")
        for one in found.done:
            for score in one.scores:
                numbers = [f"{score[name]:.4g}" for name in ("original", "defended", "shift")]
                table.add_row(str(one.file), score["metric"], _better(score["higher_is_better"]), *numbers)
        Console().print(table)
    else:
        for one in found.done:
            print(one.output)


def defenses(*, as_json: bool) -> None:
    """Print the defenses and their parameters."""
    from app.routes.catalogue import list_defenses

    entries = list_defenses()
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        return
    table = Table("defense", "what it does", "parameters (default)")
    for entry in entries:
        fields = entry.parameters["properties"]
        shown = [f"{name} ({json.dumps(fields[name].get('default'))})" for name in fields if name != "name"]
        table.add_row(entry.name, entry.summary, ", ".join(shown))
    Console().print(table)


def metrics(*, as_json: bool) -> None:
    """Print the metrics and whether each can be used on this machine."""
    from app.routes.catalogue import list_metrics

    entries = list_metrics()
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        return
    table = Table("metric", "better", "range", "usable here")
    for entry in sorted(entries, key=lambda one: (not one.availability.available, one.name)):
        low, high = ("?" if bound is None else f"{bound:g}" for bound in entry.range)
        usable = "yes" if entry.availability.available else f"no: {entry.availability.reason}"
        table.add_row(entry.name, _better(entry.higher_is_better), f"{low} to {high}", usable)
    Console().print(table)


def _better(higher: bool) -> str:  # noqa: FBT001 - a fact, not a switch
    return "higher" if higher else "lower"
