"""How `purifiqa attack` and `purifiqa attacks` are called."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Images, JsonOption, end, fail, in_words, named
from app.cli.stopping import ended_as_by_ctrl_c


class Goal(StrEnum):
    """Which way the claimed quality shall go."""

    RAISE = "raise"
    LOWER = "lower"


def attacks(
    as_json: JsonOption = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/attacks.md.")] = False,
) -> None:
    """List the attacks, their parameters, and what a missing one needs."""
    from app.command import listing

    if as_json and as_markdown:
        fail("choose --json or --markdown")
    listing.attacks("json" if as_json else "markdown" if as_markdown else "table")


@ended_as_by_ctrl_c()
def attack(
    images: Images,
    attack: Annotated[
        str, typer.Option("--attack", "-a", help='A name, or JSON such as {"name": "ifgsm", "epsilon": 4}.')
    ],
    metric: Annotated[str, typer.Option("--metric", "-m", help="The metric to mislead.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder; or a PNG file for one image.", parser=named, metavar="<path>")
    ],
    defense: Annotated[
        str | None, typer.Option("--defense", "-d", help="Attack through it; name or JSON. Left out: through none.")
    ] = None,
    goal: Annotated[Goal | None, typer.Option(help="Which way the claimed quality shall go.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**53 - 1, help="Of everything random.")] = 0,
    learn: Annotated[
        bool, typer.Option("--learn", help="Learn a pattern for `uap` on the images; -o is FILE.safetensors.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="With --learn: how often each image is seen.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Attack a metric, with --defense through that defense; write 8-bit PNGs and say how far the score went."""
    from app.command import attacks, listing

    try:
        order = attacks.make_order(attack, metric, defense, goal and str(goal), seed)
        if learn:
            left_out = attacks.learn_pattern(order, images, out, epochs)
            print(json.dumps({"output": str(out)}) if as_json else out)
            end(left_out, interrupted=False)
            return
        found = attacks.run(order, images, out)
    except ValueError as error:  # FilesError is one
        fail(in_words(error))
    listing.attacked(found.done, as_json=as_json)
    for flag in found.doubts(order):
        print(f"purifiqa: doubt: {flag.message} ({flag.link})", file=sys.stderr)
    end(found.failed, interrupted=found.interrupted)
