"""What several commands share: their options, and how they fail."""

import contextlib
import errno
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.cli.stopping import INTERRUPTED

DATA_DIR = Path.home() / ".local" / "share" / "purifiqa"
UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""How output fails: nobody reads it any more, the disk is full, ..."""

Images = Annotated[list[str], typer.Argument(help="Image files, folders, or quoted patterns such as '*.png'.")]


def named(text: str) -> Path:
    """Return the path that a text names. An empty one, as of a variable that is not set, is not the folder here."""
    if not text:
        raise typer.BadParameter("the name is empty")
    return Path(text)


DefenseOption = Annotated[
    str | None,
    typer.Option(
        "--defense",
        "-d",
        help="Defense, such as jpeg, jpeg(quality=30) or flip+jpeg.",
        show_default="PURIFIQA_DEFAULT_DEFENSE",
    ),
]
SeedOption = Annotated[
    int | None, typer.Option(help="Seed for random defenses. Left out: a fresh one, reported by --json.")
]
ServerOption = Annotated[
    str | None, typer.Option(help="URL of a service that does the work. Left out: this process does it.")
]
InFlightOption = Annotated[
    int,
    typer.Option(min=1, max=1000, help="With --server: orders to keep open at a time; use at least two per worker."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def fail(message: str, status: int = 1) -> NoReturn:
    """Print the message and exit with the status."""
    print(f"purifiqa: {message}", file=sys.stderr)
    raise typer.Exit(status)


@contextlib.contextmanager
def said_plainly(status: int = 1, say: Callable[[str, int], NoReturn] = fail) -> Iterator[None]:
    """Turn what an operator set wrongly into one line, and exit with the status; what the machine lacks, with 1.

    Output that cannot be written, which is no file of a name, is left to `main`.
    """
    try:
        yield
    except ValueError as error:
        say(in_words(error), status)
    except OSError as error:
        if is_about_output(error):
            raise
        say(str(error), 1)


def is_about_output(error: OSError) -> bool:
    """Return whether what is printed cannot be written: nobody reads it any more, the disk is full, ..."""
    return error.filename is None and error.errno in UNWRITABLE


def in_words(error: Exception) -> str:
    """Return what an error says; of settings that are wrong, the variables."""
    from pydantic import ValidationError

    from app.settings import Settings

    if not isinstance(error, ValidationError) or error.title not in {kind.__name__ for kind in Settings.__mro__}:
        return str(error)
    wrong = []
    for one in error.errors():
        variable, said = f"PURIFIQA_{'_'.join(map(str, one['loc'])).upper()}", one["msg"].removeprefix("Value error, ")
        is_secret = any(word in variable for word in ("SECRET", "PASSWORD", "KEY"))
        wrong.append(f"{variable}: {said}" + ("" if is_secret else f"; it is {str(one['input'])[:80]!r}"))
    return "; ".join(wrong)


def end(failed: Iterable[tuple[Path, str]], *, interrupted: bool) -> None:
    """Tell which files failed and whether the rest was not done; exit with 130 or 1 if so."""
    wrong = list(failed)
    for file, why in wrong:
        print(f"{file}: {why}", file=sys.stderr)
    if interrupted:
        print("purifiqa: stopped; the remaining files were not processed", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    if wrong:
        raise typer.Exit(1)
