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
    images: Annotated[Path, typer.Option(help="Folder of images, or one image.", parser=named, metavar="<path>")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder for results; the same command resumes there.", parser=named, metavar="<path>"
        ),
    ],
    attacks: Annotated[
        str | None,
        typer.Option("--attacks", "-a", help="Comma list, such as ifgsm,square(queries=500)."),
    ] = None,
    defenses: Annotated[
        str | None,
        typer.Option("--defenses", "-d", help="Comma list, such as jpeg(quality=30|50),flip+jpeg."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", "-m", help="Comma list of names.", show_default="PURIFIQA_DEFAULT_METRICS, the usable ones"
        ),
    ] = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(help="Named set of attacks, defenses and image size; other options win over it."),
    ] = None,
    adaptive: Annotated[
        str | None, typer.Option(help="Also attack through these defenses (adaptive attacks): a comma list, or `all`.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="Crop the center to this shape and shrink it to this size; `native`: no change."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most this many images, the first by name.")] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Processes.", show_default="one per core; on a GPU, 1")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**53 - 1, help="Seed of everything random.")] = 0,
    samples: Annotated[
        int,
        typer.Option(min=1, max=32, help="Score random defenses by the median over this many seeds, as `score` does."),
    ] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Stop after this many minutes; the same command resumes.")
    ] = None,
    mos: Annotated[
        Path | None,
        typer.Option(help="CSV table of human opinions (file,mos): the report shows how well scores agree."),
    ] = None,
    server: ServerOption = None,
    in_flight: InFlightOption = 16,
    add: Annotated[
        bool, typer.Option("--add", help="Add images, attacks, defenses or metrics to the study in the folder.")
    ] = False,
) -> None:
    """Run a study of defenses against attacks on all cores: tables and a report. It can be resumed."""
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
        f"{findings.done} of {findings.steps} steps done, {len(findings.failures)} failed, {skipped} images skipped: "
        f"{out / 'report.html'}"
    )
    if outcome.interrupted:
        print("purifiqa: stopped; run the same command again to resume", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    if findings.failures:
        raise typer.Exit(1)
