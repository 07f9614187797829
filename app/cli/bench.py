"""How `purifiqa bench` is called."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import InFlightOption, ServerOption, fail, in_words, named
from app.cli.stopping import INTERRUPTED, ended_as_by_ctrl_c


class PresetName(StrEnum):
    """Named choices of attacks, defenses and picture size."""

    QUICK = "quick"
    PAPER = "paper"
    GUARDIANS = "guardians"


@ended_as_by_ctrl_c()
def bench(
    images: Annotated[Path, typer.Option(help="Folder of pictures, or one picture.", parser=named, metavar="<path>")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder for results; the same command goes on in it.", parser=named, metavar="<path>"
        ),
    ],
    attacks: Annotated[
        str | None, typer.Option("--attacks", "-a", help='Comma list; also JSON: {"name": "square", "queries": 500}.')
    ] = None,
    defenses: Annotated[
        str | None, typer.Option("--defenses", "-d", help='Comma list; also JSON: {"name": "jpeg", "quality": 30}.')
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", "-m", help="Comma list.", show_default="PURIFIQA_DEFAULT_METRICS, if usable"),
    ] = None,
    preset: Annotated[
        PresetName | None, typer.Option(help="Attacks, defenses and size, where no option names them.")
    ] = None,
    adaptive: Annotated[
        str | None, typer.Option(help="Also attack through these defenses: a comma list, or `all`.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Cut the middle of this shape and shrink it; `native`: leave it as it is."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use so many pictures, the first by name.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Processes.", show_default="cores")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**53 - 1, help="Of everything random.")] = 0,
    samples: Annotated[
        int, typer.Option(min=1, max=32, help="Score random defenses by the median of so many seeds, as `score` does.")
    ] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Stop after so long; the same command goes on.")
    ] = None,
    mos: Annotated[
        Path | None,
        typer.Option(help="CSV table of opinions (file,mos): the report tells how well scores follow them."),
    ] = None,
    server: ServerOption = None,
    in_flight: InFlightOption = 16,
    add: Annotated[
        bool, typer.Option("--add", help="Go on in a folder with more pictures, attacks, defenses or metrics.")
    ] = False,
) -> None:
    """Measure defenses against attacks: tables and a report, resumable, on all cores."""
    from importlib.metadata import version

    from app.bench import study
    from app.bench.choices import Choices

    name = None if preset is None else str(preset)
    command = shlex.join(["purifiqa", *sys.argv[1:]]).encode("utf-8", "backslashreplace").decode()
    choices = Choices(
        images,
        out,
        name,
        attacks,
        defenses,
        metrics,
        adaptive,
        size,
        limit,
        seed,
        samples,
        add=add,
        mos=mos,
        command=command,
    )
    try:
        means = study.Means(jobs, minutes, server, in_flight)
        outcome = study.run(choices, version("purifiqa"), means)
    except ValueError as error:  # BenchError is one
        fail(in_words(error))
    findings = outcome.findings
    for one in outcome.manifest.skipped:
        print(f"skipped {one.kind} {one.name}: {one.reason}", file=sys.stderr)
    for failure in findings.failures:
        print(f"failed {failure.place}, {failure.step}: {failure.why}", file=sys.stderr)
    skipped = sum(one.kind == "image" for one in outcome.manifest.skipped)
    print(
        f"{findings.done} of {findings.steps} steps done, {len(findings.failures)} failed, {skipped} pictures skipped: "
        f"{out / 'report.html'}"
    )
    if outcome.interrupted:
        print("purifiqa: stopped; the same command goes on where it was", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    if findings.failures:
        raise typer.Exit(1)
