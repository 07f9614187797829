"""How `purifiqa weights` is called."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import JsonOption, said_plainly
from app.cli.stopping import ended_as_by_ctrl_c

weights = typer.Typer(
    no_args_is_help=True, help="List, add, pull, verify and remove model weights that are too large to ship."
)

WeightsName = Annotated[str, typer.Argument(metavar="NAME", help="A name from `purifiqa weights list`.")]
OptionalWeightsName = Annotated[
    str | None, typer.Argument(metavar="NAME", help="A name from `purifiqa weights list`. Left out: all of them.")
]


@weights.command("list")
def list_weights(as_json: JsonOption = False) -> None:
    """List the weights that can be added, and those that were."""
    from app.command import weights as stored

    with said_plainly():
        stored.show(as_json=as_json)


@weights.command()
@ended_as_by_ctrl_c()
def add(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A name from `purifiqa weights list`, or a new one for another network."),
    ],
    source: Annotated[
        Path, typer.Argument(metavar="FILE_OR_FOLDER", help="The file as published; for a UNet2DModel, its folder.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace existing weights of this name.")] = False,
) -> None:
    """Verify weights, convert them, test them on a small image, and store them under a name."""
    from app.command import weights as stored

    with said_plainly():
        stored.add(name, source, force=force)


@weights.command()
@ended_as_by_ctrl_c()
def pull(
    name: WeightsName,
    force: Annotated[bool, typer.Option("--force", help="Replace existing weights of this name.")] = False,
) -> None:
    """Download published weights from their authors and add them. An interrupted download is resumed."""
    from app.command import weights as stored

    with said_plainly():
        stored.pull(name, force=force)


@weights.command()
def verify(name: OptionalWeightsName = None) -> None:
    """Check that stored weights have not changed, byte by byte, since they were added."""
    from app.command import weights as stored

    with said_plainly():
        wrong = stored.verify(name)
    for message in wrong:
        print(f"purifiqa: {message}", file=sys.stderr)
    if wrong:
        raise typer.Exit(1)


@weights.command()
def path(name: OptionalWeightsName = None) -> None:
    """Print the folder of added weights."""
    from app.command import weights as stored

    with said_plainly():
        stored.path(name)


@weights.command()
def remove(name: WeightsName) -> None:
    """Remove added weights."""
    from app.command import weights as stored

    with said_plainly():
        stored.remove(name)
