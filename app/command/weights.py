"""What `purifiqa weights` does: list, add, pull, verify and remove the weights that are too big to ship."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from app.command import tables
from models import checkpoints
from models.checkpoints import CheckpointError, Facts


def show(*, as_json: bool) -> None:
    """Print every weight file that can be added by name, and everything that was added. Raises CheckpointError."""
    rows = _rows()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("name", "kind", "license", "size", "added", "published at")
    for row in rows:
        size = "?" if row["size"] is None else f"{row['size'] / 1e6:,.1f} MB"
        here = "broken" if row["wrong"] else "yes" if row["here"] else "no"
        table.add_row(row["name"], row["kind"], row["license"], size, here, row["url"] or "")
    tables.show(table)
    for row in rows:
        if row["wrong"]:
            print(f"purifiqa: {row['wrong']}", file=sys.stderr)


def _rows() -> list[dict[str, Any]]:
    from models.published import PUBLISHED

    rows = []
    for name in sorted({*PUBLISHED, *checkpoints.names()}):
        known, (facts, wrong) = PUBLISHED.get(name), _look(name)
        rows.append(
            {
                "name": name,
                "kind": known.kind if known else facts.kind if facts else None,
                "license": known.published.license if known else _license(facts),
                "size": _size(name) if facts else known.published.size if known else None,
                "here": facts is not None and wrong is None,
                "wrong": wrong,
                "file": known.published.file if known else facts.source if facts else None,
                "url": known.published.url if known else None,
                "download": known.published.download if known else None,
                "sha256": known.published.sha256 if known else None,
                "git_sha1": known.published.git_sha1 if known else None,
            }
        )
    return rows


def _look(name: str) -> tuple[Facts | None, str | None]:
    """Return the facts about added weights, and what is wrong with them as far as is seen without reading them."""
    try:
        facts = checkpoints.facts_of(name)
    except CheckpointError as error:
        return None, str(error)
    state = checkpoints.availability(name, facts.kind) if facts else None
    return facts, state.explanation if state and not state.available else None


def _license(facts: Facts | None) -> str:
    return str(facts.config.get("license", "not stated")) if facts else "not stated"


def _size(name: str) -> int | None:
    file = checkpoints.folder(name) / checkpoints.WEIGHTS
    return file.stat().st_size if file.is_file() else None


def add(name: str, source: Path, *, force: bool) -> None:
    """Verify, convert, try and keep weights under `name`; print what was done. Raises CheckpointError."""
    from models import published

    place = checkpoints.folder(name)
    if os.path.lexists(place) and not force:
        raise CheckpointError(f"{name} has already been added; --force replaces it")
    try:
        facts = published.add(name, source)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_meant(name)}") from error
    print(f"{name}: {facts.kind} from {facts.source}, converted, tested on a small image, and stored in {place}")
    if (score := facts.config.get("trial_score")) is not None:
        print(f"{name}: {source.stat().st_size:,} bytes became {_size(name):,}; the small image scores {score}")
    for note in facts.config.get("notes", ()):
        print(f"purifiqa: {name}: {note}", file=sys.stderr if note.startswith("warning") else sys.stdout)
    if (gain := facts.config.get("gain_db")) is None:
        return
    print(f"{name}: brings a noisy image {gain} dB closer to the clean one")
    if gain <= 0:
        print(
            f"purifiqa: warning: {name} does not denoise. Was it trained, and with this noise schedule?",
            file=sys.stderr,
        )


def _meant(name: str) -> str:
    """Return a question for a name that is not, but nearly, one under which something is published."""
    from app.errors import closest
    from models.published import PUBLISHED

    meant = None if name in PUBLISHED else closest(name, PUBLISHED)
    return f"; did you mean {meant!r}?" if meant else ""


def pull(name: str, *, force: bool) -> None:
    """Fetch what is published under `name`, with a progress bar on a terminal, and add it.

    Raises CheckpointError, DownloadError.
    """
    from app.command.download import fetch
    from models.published import PUBLISHED

    entry = PUBLISHED.get(name)
    if entry is None:
        known = "see `purifiqa weights list`"
        raise CheckpointError(f"there are no published weights {name[:80]!r}; {known}{_meant(name)}")
    if os.path.lexists(checkpoints.folder(name)) and not force:
        raise CheckpointError(f"{name} has already been added; --force replaces it")
    if entry.published.download is None:
        raise CheckpointError(f"{name} cannot be downloaded automatically. {entry.published.cure}")
    folder = checkpoints.home() / ".downloads" / name
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    console = Console(stderr=True)
    is_silent = not console.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=is_silent) as progress:
        for published in (*entry.partners, entry.published):
            bar = progress.add_task(published.file, total=None)

            def told(here: int, of: int | None, bar: TaskID = bar) -> None:
                progress.update(bar, completed=here, total=of)

            file = fetch(published, folder, told)
    try:
        add(name, file, force=force)
    except CheckpointError:
        if any(one.sha256 is None and one.git_sha1 is None for one in (*entry.partners, entry.published)):
            shutil.rmtree(folder)  # nothing told that it is the published one: next time it is fetched anew
        raise
    shutil.rmtree(folder)


def verify(name: str | None) -> list[str]:
    """Print for one or all added weights that they are as they were added; return what is wrong with the others.

    Raises CheckpointError.
    """
    wrong = []
    for one in [name] if name else checkpoints.names():
        try:
            checkpoints.verify(_facts(one))
            print(f"{one}: unchanged since it was added")
        except CheckpointError as error:
            wrong.append(str(error))
    return wrong


def path(name: str | None) -> None:
    """Print where the weights of this name are, or all of them. Raises CheckpointError."""
    print(checkpoints.folder(_facts(name).name) if name else checkpoints.home())


def remove(name: str) -> None:
    """Remove added weights, readable or not. Raises CheckpointError."""
    place = checkpoints.folder(name)
    if not os.path.lexists(place):
        raise CheckpointError(f"the weights {name} have not been added{_kept_instead(name)}")
    checkpoints.remove(place)
    print(f"{name}: removed")


def _facts(name: str) -> Facts:
    if facts := checkpoints.facts_of(name):
        return facts
    raise CheckpointError(f"the weights {name} have not been added{_kept_instead(name)}")


def _kept_instead(name: str) -> str:
    """Return the cure for a name that was not added: the one that was probably meant, or all that were."""
    from app.errors import closest

    kept = checkpoints.names()
    meant = closest(name, kept)
    return f"; did you mean {meant!r}?" if meant else f"; there are {', '.join(kept)}" if kept else "; there are none"
