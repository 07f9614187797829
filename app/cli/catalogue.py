"""How `purifiqa defenses` and `purifiqa metrics` are called."""

from typing import Annotated

import typer

from app.cli.options import JsonOption, fail, said_plainly


def defenses(
    as_json: JsonOption = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/defenses.md.")] = False,
) -> None:
    """List the defenses and their parameters."""
    from app.command import listing

    if as_json and as_markdown:
        fail("choose --json or --markdown")
    listing.defenses("json" if as_json else "markdown" if as_markdown else "table")


def metrics(as_json: JsonOption = False) -> None:
    """List the metrics, their ranges, and what each unavailable one needs."""
    from app.command import listing

    with said_plainly():
        listing.metrics(as_json=as_json)
