"""How `purifiqa purify` and `purifiqa score` are called."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import (
    DefenseOption,
    Images,
    InFlightOption,
    JsonOption,
    SeedOption,
    ServerOption,
    end,
    fail,
    in_words,
    named,
)
from app.cli.stopping import ended_as_by_ctrl_c


class Format(StrEnum):
    """Formats of purified images."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"


@ended_as_by_ctrl_c()
def purify(
    images: Images,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Output folder, or a file name for one image.", parser=named, metavar="<path>"
        ),
    ],
    defense: DefenseOption = None,
    metrics: Annotated[
        str, typer.Option("--metrics", "-m", help="Comma list: also score with these, before and after.")
    ] = "",
    seed: SeedOption = None,
    format: Annotated[  # noqa: A002
        Format | None, typer.Option(help="Format of the purified images.", show_default="by the file name, else png")
    ] = None,
    server: ServerOption = None,
    in_flight: InFlightOption = 16,
    as_json: JsonOption = False,
) -> None:
    """Purify images with a defense, and write the results."""
    fields = {"defense": defense, "metrics": metrics, "format": str(format) if format else None}
    _run("purify", images, fields, seed, server, in_flight, out, "json" if as_json else "table" if metrics else "files")


@ended_as_by_ctrl_c()
def score(
    images: Images,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", "-m", help="Comma list of metrics.", show_default="PURIFIQA_DEFAULT_METRICS"),
    ] = None,
    defense: DefenseOption = None,
    samples: Annotated[int, typer.Option(min=1, max=32, help="Report the median score over this many seeds.")] = 1,
    seed: SeedOption = None,
    server: ServerOption = None,
    in_flight: InFlightOption = 16,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Score images before and after a defense."""
    if as_json and as_csv:
        fail("choose --json or --csv")
    fields = {"defense": defense, "metrics": metrics, "samples": str(samples)}
    _run("score", images, fields, seed, server, in_flight, None, "json" if as_json else "csv" if as_csv else "table")


def _run(
    kind: str,
    images: list[str],
    fields: dict[str, str | None],
    seed: int | None,
    server: str | None,
    in_flight: int,
    out: Path | None,
    form: str,
) -> None:
    from app.command import batch, listing
    from app.command.client import ServerError
    from app.command.files import FilesError

    results = listing.Results(form)
    try:
        found = batch.run(kind, images, fields, seed, server, out, in_flight, results.tell)
    except (FilesError, ServerError, ValueError) as error:
        fail(in_words(error))
    results.end()
    end(found.failed, interrupted=found.interrupted)
