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
    """The direction in which to move the claimed quality."""

    RAISE = "raise"
    LOWER = "lower"


def attacks(
    as_json: JsonOption = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/attacks.md.")] = False,
) -> None:
    """List the attacks, their parameters, and what each unavailable one needs."""
    from app.command import listing

    if as_json and as_markdown:
        fail("choose --json or --markdown")
    listing.attacks("json" if as_json else "markdown" if as_markdown else "table")


@ended_as_by_ctrl_c()
def attack(
    images: Images,
    attack: Annotated[str, typer.Option("--attack", "-a", help="Attack, such as ifgsm or ifgsm(epsilon=4).")],
    metric: Annotated[str, typer.Option("--metric", "-m", help="Metric to mislead.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Output folder, or a PNG file name for one image.", parser=named, metavar="<path>"
        ),
    ],
    defense: Annotated[
        str | None,
        typer.Option("--defense", "-d", help="Attack through this defense, such as flip+jpeg. Left out: no defense."),
    ] = None,
    goal: Annotated[
        Goal | None,
        typer.Option(help="Raise or lower the claimed quality.", show_default="that of --attack, else raise"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**53 - 1, help="Seed of everything random.")] = 0,
    learn: Annotated[
        bool, typer.Option("--learn", help="Learn a pattern for `uap` from the images; -o is then a .safetensors file.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="With --learn: passes over the images.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Attack a metric: write the attacked images as 8-bit PNGs, and report how the scores changed."""
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
