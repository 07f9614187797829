"""What the command prints: tables for people, JSON and CSV for programs."""

import csv
import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.table import Column, Table

from app.command.attacks import Outcome
from app.command.batch import Done
from app.command.tables import show
from models import notation

CSV_COLUMNS = (
    "file", "metric", "original", "defended", "shift", "samples", "higher_is_better", "version", "seed", "defense",
    "lowest", "highest", "preprocessing", "human_trained", "license",
)  # fmt: skip
"""What is told of a score; the last ones say what it means."""

COMMON = ("name", "goal", "draws", "both")
"""Parameters that every attack has, or that tell them apart."""


class Results:
    """Print what became of every file, as `json`, `csv`, `table` or `files`.

    Lines of CSV are printed as soon as they are known, but not on a terminal, where a bar is drawn meanwhile.
    """

    def __init__(self, form: str) -> None:
        self._form, self._done, self._out = form, list[Done](), sys.stdout  # the bar puts something else in its place
        self._csv = csv.DictWriter(self._out, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
        self._is_flowing = form == "csv" and not self._out.isatty()
        self._has_begun = False

    def tell(self, done: Done) -> None:
        """Take note of a file that is done."""
        self._done.append(done)
        if self._is_flowing:
            self._lines(done)
            self._out.flush()

    def end(self) -> None:
        """Print what has not been printed."""
        if self._form == "json":
            print(json.dumps([_entry(one) for one in self._done], indent=2))
        elif self._form == "csv":
            for one in () if self._is_flowing else self._done:
                self._lines(one)
            self._begin()
        elif self._form == "files" or not any(one.scores for one in self._done):
            for one in self._done:
                print(one.output)
        else:
            show(_table(self._done))

    def _begin(self) -> None:
        if not self._has_begun:
            self._csv.writeheader()
            self._has_begun = True

    def _lines(self, done: Done) -> None:
        self._begin()
        for score in done.scores:
            low, high = score["range"]
            about: dict[str, Any] = {"file": done.file, "seed": done.seed, "defense": json.dumps(done.defense)}
            self._csv.writerow({**score, **about, "lowest": low, "highest": high})


def _entry(one: Done) -> dict[str, Any]:
    place = {"output": str(one.output)} if one.output else {}
    return {"file": str(one.file), **place, "scores": one.scores, "seed": one.seed, "defense": one.defense}


def _table(done: Sequence[Done]) -> Table:
    file = Column("file", overflow="fold")
    table = Table(file, "metric", "better", "human", "before", "after", "shift")
    for one in done:
        for score in one.scores:
            numbers = [f"{score[name]:.4g}" for name in ("original", "defended", "shift")]
            human = "yes" if score["human_trained"] else "no"
            table.add_row(str(one.file), score["metric"], _better(score["higher_is_better"]), human, *numbers)
    return table


def defenses(form: str) -> None:
    """Print the defenses and their parameters, as `json`, `markdown` or `table`."""
    from app.routes.catalogue import list_defenses

    entries = list_defenses()
    if form == "json":
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        return
    rows = [(entry.name, entry.summary, _parameters(entry.parameters["properties"])) for entry in entries]
    if form == "markdown":
        print("| defense | what it does | parameters and defaults |\n|---|---|---|")
        for name, summary, parameters in rows:
            print(f"| `{name}` | {summary} | {', '.join(f'`{one}`' for one in parameters) or 'none'} |")
        return
    table = Table("defense", "what it does", "parameters and defaults")
    for name, summary, parameters in rows:
        table.add_row(name, summary, "\n".join(parameters))
    show(table)


def attacks(form: str) -> None:
    """Print the attacks, their parameters, and whether each can be used here, as `json`, `markdown` or `table`."""
    from app.routes.catalogue import attack_entries
    from models.attacks import ATTACKS

    entries = attack_entries(ATTACKS.values())
    if form == "json":
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        return
    rows = [(one.name, one.summary, _parameters(one.parameters["properties"], skip=COMMON), one) for one in entries]
    if form == "markdown":
        print("| attack | what it does | sees | parameters and defaults | source |\n|---|---|---|---|---|")
        for name, summary, parameters, entry in rows:
            told = ", ".join(f"`{one}`" for one in parameters)
            print(f"| `{name}` | {summary} | {entry.sees} | {told} | {entry.source} |")
        return
    table = Table("attack", "what it does", "sees", "parameters and defaults", "usable here")
    for name, summary, parameters, entry in rows:
        usable = "yes" if entry.availability.available else f"no: {entry.availability.explanation}"
        table.add_row(name, summary, entry.sees, "\n".join(parameters), usable)
    show(table)


def attacked(outcomes: list[Outcome], *, as_json: bool) -> None:
    """Print what an attack did to every file."""
    if as_json:
        print(json.dumps([one.model_dump(mode="json") for one in outcomes], indent=2))
        return
    if not outcomes:
        return
    with_defense = any(one.defense is not None for one in outcomes)
    names = ["clean", "attacked", *(["clean, defended", "attacked, defended"] if with_defense else [])]
    table = Table(Column("file", overflow="fold"), *names, "change", "budget", "PSNR", "queries")
    for one in outcomes:
        scores = [one.clean, one.attacked, *([one.defended_clean, one.defended_attacked] if with_defense else [])]
        table.add_row(
            str(one.file),
            *("none" if score is None else f"{score:.4g}" for score in scores),
            f"{one.linf}/255",
            "none" if one.budget is None else f"{one.budget}/255",
            "identical" if one.psnr is None else f"{one.psnr:.1f} dB",
            str(one.queries),
        )
    show(table)


def _parameters(fields: dict[str, Any], skip: tuple[str, ...] = ("name",)) -> list[str]:
    from models.defenses import make_defense

    def shown(default: Any) -> str:
        if isinstance(default, list):
            return " + ".join(notation.write(make_defense(step)) for step in default)
        return default if isinstance(default, str) else json.dumps(default)

    return [f"{name}={shown(field.get('default'))}" for name, field in fields.items() if name not in skip]


def metrics(*, as_json: bool) -> None:
    """Print the metrics and whether each can be used on this machine."""
    from app.routes.catalogue import metric_entries
    from workers.defaults import check_defaults
    from workers.settings import WorkerSettings

    settings = WorkerSettings()
    check_defaults(settings)
    entries = metric_entries(settings)
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        return
    table = Table("metric", "better", "range", "usable here")
    for entry in sorted(entries, key=lambda one: (not one.availability.available, one.name)):
        low, high = ("?" if bound is None else f"{bound:g}" for bound in entry.range)
        usable = "yes" if entry.availability.available else f"no: {entry.availability.reason}"
        table.add_row(entry.name, _better(entry.higher_is_better), f"{low} to {high}", usable)
    show(table)


def _better(higher: bool) -> str:  # noqa: FBT001 - a fact, not a switch
    return "higher" if higher else "lower"
