"""What several commands share: their options, and how they fail."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

DATA_DIR = Path.home() / ".local" / "share" / "purifiqa"

Images = Annotated[list[str], typer.Argument(help="Image files, folders, or patterns in quotes.")]
DefenseOption = Annotated[
    str | None,
    typer.Option(
        "--defense",
        "-d",
        help='A name, or JSON such as {"name": "jpeg", "quality": 50}.',
        show_default="PURIFIQA_DEFAULT_DEFENSE",
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="For random defenses; left out: a fresh one, which is told.")]
ServerOption = Annotated[str | None, typer.Option(help="URL of a running service; left out: in this process.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextlib.contextmanager
def said_plainly() -> Iterator[None]:
    """Turn what an operator set wrongly into one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Print the message and exit with 1."""
    print(f"purifiqa: {message}", file=sys.stderr)
    raise typer.Exit(1)


def end(failed: Iterable[tuple[Path, str]], *, interrupted: bool) -> None:
    """Tell which files failed and whether the rest was not done; exit with 130 or 1 if so."""
    wrong = list(failed)
    for file, why in wrong:
        print(f"{file}: {why}", file=sys.stderr)
    if interrupted:
        print("purifiqa: stopped; the rest was not done", file=sys.stderr)
        raise typer.Exit(130)
    if wrong:
        raise typer.Exit(1)
