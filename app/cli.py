"""The command `purifiqa`. Heavy imports wait until a command needs them, so that `--help` and `health` are quick."""

import logging
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app import cli_attack, cli_bench, cli_keys
from app.cli_options import (
    DATA_DIR,
    DefenseOption,
    Images,
    InFlightOption,
    JsonOption,
    SeedOption,
    ServerOption,
    end,
    fail,
    in_words,
    said_plainly,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=(
    "Image-quality scores that can be trusted: purify an image, and score it before and after."
))  # fmt: skip

WeightsName = Annotated[str, typer.Argument(metavar="NAME", help="As in `purifiqa weights list`, or a new one.")]
OptionalWeightsName = Annotated[str | None, typer.Argument(metavar="NAME", help="Left out: all of them.")]

weights = typer.Typer(no_args_is_help=True, help="Add, pull, list, verify and remove weights that are too big to ship.")
app.add_typer(weights, name="weights")
app.add_typer(cli_keys.keys, name="keys")


class Format(StrEnum):
    """Formats of purified images."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"


@app.command()
def up(
    host: Annotated[str, typer.Option(envvar="PURIFIQA_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="PURIFIQA_PORT", min=0, max=65_535, help="Port to listen on; 0: any free one.")
    ] = 8000,
    data_dir: Annotated[
        Path, typer.Option(envvar="PURIFIQA_DATA_DIR", help="Folder for the queue, inputs and results.")
    ] = DATA_DIR,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes; default: one per core.")] = os.cpu_count() or 1,
) -> None:
    """Run everything on this machine: an embedded Valkey, the API and warm workers. Ctrl-C stops it."""
    from app.command.parts import StartError
    from app.command.supervisor import Supervisor
    from app.guard.access import needs_keys

    _log()
    with said_plainly():
        needs_keys(os.environ.get("PURIFIQA_AUTH", "auto"), host, "", cli_keys.keys_file(data_dir))
    try:
        Supervisor(host, port, data_dir, workers).run()
    except StartError as error:
        fail(str(error))


@app.command()
def api() -> None:
    """Run only the API; where Redis is and what it listens on come from PURIFIQA_* variables."""
    from app.main import create_app
    from app.server import serve
    from app.settings import Settings, unknown_variables
    from workers.telemetry import tracing

    with said_plainly(os.EX_CONFIG):
        settings = Settings()
        tracing.configure("purifiqa-api")
        service = create_app(settings)
    _log(settings.log_level, settings.log_format)
    for line in unknown_variables(os.environ):
        logging.getLogger("purifiqa.api").warning(line)
    serve(service, settings)


@app.command()
def worker() -> None:
    """Run only one warm worker process; where Redis is comes from PURIFIQA_* variables."""
    from workers.settings import WorkerSettings
    from workers.state.broker import BROKER_ERRORS
    from workers.telemetry import tracing
    from workers.worker import context, serve

    with said_plainly(os.EX_CONFIG):
        settings = WorkerSettings()
        _log(settings.log_level, settings.log_format)
        tracing.configure("purifiqa-worker")
        context()
    try:
        serve()
    except BROKER_ERRORS as error:
        fail(f"Redis cannot be used: {error}")


@app.command()
def purify(
    images: Images,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; or a file name for one image.")],
    defense: DefenseOption = None,
    metrics: Annotated[str, typer.Option("--metrics", "-m", help="Comma list: also score before and after.")] = "",
    seed: SeedOption = None,
    format: Annotated[  # noqa: A002
        Format | None, typer.Option(help="Of the purified images.", show_default="that of the file name, else png")
    ] = None,
    server: ServerOption = None,
    in_flight: InFlightOption = 16,
    as_json: JsonOption = False,
) -> None:
    """Purify images with a chosen defense."""
    fields = {"defense": defense, "metrics": metrics, "format": str(format) if format else None}
    _run("purify", images, fields, seed, server, in_flight, out, "json" if as_json else "table" if metrics else "files")


@app.command()
def score(
    images: Images,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", "-m", help="Comma list of metrics.", show_default="PURIFIQA_DEFAULT_METRICS"),
    ] = None,
    defense: DefenseOption = None,
    samples: Annotated[int, typer.Option(min=1, max=32, help="Median over this many seeds.")] = 1,
    seed: SeedOption = None,
    server: ServerOption = None,
    in_flight: InFlightOption = 16,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Score images as they come and as defended."""
    if as_json and as_csv:
        fail("choose --json or --csv")
    fields = {"defense": defense, "metrics": metrics, "samples": str(samples)}
    _run("score", images, fields, seed, server, in_flight, None, "json" if as_json else "csv" if as_csv else "table")


@app.command()
def defenses(
    as_json: JsonOption = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print README's table.")] = False,
) -> None:
    """List the defenses and their parameters."""
    from app.command import listing

    listing.defenses("json" if as_json else "markdown" if as_markdown else "table")


@app.command()
def metrics(as_json: JsonOption = False) -> None:
    """List the metrics, their ranges, and what a missing one needs."""
    from app.command import listing

    listing.metrics(as_json=as_json)


app.command()(cli_attack.attacks)
app.command()(cli_attack.attack)
app.command()(cli_bench.bench)


@app.command()
def health(
    url: Annotated[
        str | None, typer.Option(help="URL of the service.", show_default="by PURIFIQA_HOST and PURIFIQA_PORT")
    ] = None,
    worker: Annotated[bool, typer.Option("--worker", help="Ask about a worker in this container instead.")] = False,
) -> None:
    """Exit with 0 if the service is ready, for containers."""
    from app.command.health import check_service, check_worker, own_address

    wrong = check_worker() if worker else check_service(url or own_address())
    if wrong:
        fail(wrong)
    print("ready")


@weights.command("list")
def list_weights(as_json: JsonOption = False) -> None:
    """List what can be added and what was."""
    from app.command import weights

    with said_plainly():
        weights.show(as_json=as_json)


@weights.command()
def add(
    name: WeightsName,
    source: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", help="As published; a UNet2DModel is a folder.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what has this name.")] = False,
) -> None:
    """Verify weights, convert them, try them, and keep them under a name."""
    from app.command import weights

    with said_plainly():
        weights.add(name, source, force=force)


@weights.command()
def pull(
    name: WeightsName,
    force: Annotated[bool, typer.Option("--force", help="Replace what has this name.")] = False,
) -> None:
    """Download published weights from their authors and add them; an interrupted download is gone on with."""
    from app.command import weights

    with said_plainly():
        weights.pull(name, force=force)


@weights.command()
def verify(name: OptionalWeightsName = None) -> None:
    """Check that added weights are, byte by byte, what was added."""
    from app.command import weights

    with said_plainly():
        wrong = weights.verify(name)
    for message in wrong:
        print(f"purifiqa: {message}", file=sys.stderr)
    if wrong:
        raise typer.Exit(1)


@weights.command()
def path(name: OptionalWeightsName = None) -> None:
    """Print the folder of added weights."""
    from app.command import weights

    with said_plainly():
        weights.path(name)


@weights.command()
def remove(name: WeightsName) -> None:
    """Remove added weights."""
    from app.command import weights

    with said_plainly():
        weights.remove(name)


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


def _log(level: str = "INFO", form: str | None = None) -> None:
    from workers.telemetry import logs

    form = form or os.environ.get("PURIFIQA_LOG_FORMAT", "text")
    if form not in ("json", "text"):
        fail(f"PURIFIQA_LOG_FORMAT is {form!r}; it must be json or text")
    logs.configure(level, "json" if form == "json" else "text")


def main() -> None:
    """Run the command."""
    app()
