"""How the command `purifiqa` is called; `app/command` is what it does.

Heavy imports wait until a command needs them, so that `--help` and `health` are quick.
"""

import typer

from app.cli import attack, bench, catalogue, images, keys, services, weights

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=(
    "Image-quality scores that can be trusted: purify an image, and score it before and after."
))  # fmt: skip

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
    services.health,
):
    app.command()(_command)
app.add_typer(weights.weights, name="weights")
app.add_typer(keys.keys, name="keys")


def main() -> None:
    """Run the command."""
    app()
