"""How the command `purifiqa` is called; `app/command` is what it does.

Heavy imports wait until a command needs them, so that `--help` and `health` are quick.
"""

import codecs
import errno
import io
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from app.cli import attack, bench, catalogue, images, keys, services, weights
from app.cli.options import is_about_output

LARGE_PAGES = ("THP_MEM_ALLOC_ENABLE", "1")
"""Lets torch ask for large tensors in pages of 2 MB, which the system is quicker to give (docs/performance.md)."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=(
    "Defend no-reference image-quality scores against attacks: purify an image, and score it before and after."
))  # fmt: skip


def _tell_version(*, is_wanted: bool) -> None:
    if is_wanted:
        print(version("purifiqa"))
        raise typer.Exit


@app.callback()
def _of_all(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Let names of files that are not UTF-8 come out as they are, byte by byte; as codes where UTF-8 cannot."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        writes_all = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if writes_all else "backslashreplace")


for _command in (
    services.up,
    services.api,
    services.worker,
    images.purify,
    images.score,
    catalogue.defenses,
    catalogue.metrics,
    attack.attacks,
    attack.attack,
    bench.bench,
    services.check,
    services.health,
):
    app.command()(_command)
app.add_typer(weights.weights, name="weights")
app.add_typer(keys.keys, name="keys")


def main() -> None:
    """Run the command. Output that cannot be written ends it with status 1, in a line unless nobody reads any more.

    What was closed before (`>&-`) is written nowhere.
    """
    os.environ.setdefault(*LARGE_PAGES)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - to the end
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where it can be told, and not when Python ends
    except OSError as error:
        if not is_about_output(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still holds
        if error.errno != errno.EPIPE:
            print(f"purifiqa: cannot write the output: {error.strerror}", file=sys.stderr)
        sys.exit(1)
