"""What `purifiqa attack` and `purifiqa attacks` do, in this process. A broken file stops no other."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from app.command.batch import EXPECTED, progress_bar, without_the_rest
from app.command.files import FilesError, ImageFile, check_place, find_images, named_format, plan_outputs
from app.errors import ProblemError
from app.orders import chosen_defense, chosen_metrics, wrong_attack
from app.settings import Settings
from models.attack import Attack, AttackError, AttackUnavailableError, DefenseMissingError, NoGradientError
from models.attack_alone import AttackedImage, AttackFacts, AttackScores, attack_alone, score_attack
from models.attack_checks import Flag, check_defense, check_effect, check_gradients, check_purpose
from models.attacks import UnknownAttackError, parse_attack
from models.defense import Defense, DefenseUnavailableError, PurificationError
from models.images import ImageError, decode
from models.metric import Metric, MetricError, MetricUnavailableError, UnsuitableSizeError
from models.metrics import find_metric
from models.perturbation.universal import Recipe, center, learn, save
from models.whole_files import write_whole
from workers.worker import pick_device

UNIVERSAL = "uap"
_HOPELESS = (AttackUnavailableError, DefenseUnavailableError, MetricUnavailableError, NoGradientError)
"""What would be the same for every file."""


@dataclass(frozen=True)
class Order:
    """What to do with every image."""

    attack: Attack
    metric_name: str
    metric: Metric
    defense: Defense | None
    seed: int
    settings: Settings


class Asked(BaseModel):
    """What was to be done with one file."""

    file: Path
    output: Path
    metric: str
    goal: str
    attack: dict[str, Any]
    defense: dict[str, Any] | None
    seed: int


class Outcome(AttackScores, AttackFacts, Asked):
    """What an attack did to one file."""

    psnr: float | None = Field(description="PSNR of the attacked image in decibels; null: identical to the clean one.")
    flags: list[Flag] = Field(description="Reasons to doubt the result.")


@dataclass
class Results:
    """What became of every file."""

    done: list[Outcome] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    interrupted: bool = False

    def doubts(self, order: Order) -> list[Flag]:
        """Return what is to be doubted about all files together."""
        return _doubts(order, [one.first_slope for one in self.done], [one.gained for one in self.done])


def make_order(attack: str, metric: str, defense: str | None, goal: str | None, seed: int) -> Order:
    """Return what is asked for, checked as far as it can be without an image.

    Raises FilesError, and ValueError for settings that are wrong.
    """
    settings = Settings()
    try:
        made = parse_attack(attack)
        if goal is not None:
            made = type(made).model_validate({**made.model_dump(), "goal": goal})
        names = chosen_metrics(metric)
        chosen = None if defense is None else chosen_defense(defense)
    except ValidationError as error:
        raise FilesError(str(wrong_attack(error))) from error
    except (UnknownAttackError, ProblemError, ValueError) as error:
        raise FilesError(str(error)) from error
    try:
        made.check_defense(chosen)
    except DefenseMissingError as error:
        raise FilesError(f"{error}, with --defense") from error
    if len(names) != 1:
        raise FilesError(f"--metric takes exactly one metric, got {metric!r}")
    return Order(made, names[0], find_metric(names[0]), chosen, seed, settings)


def run(order: Order, arguments: list[str], out: Path) -> Results:
    """Attack every image that the arguments name and write PNGs, with a progress bar on a terminal.

    An error that would be the same for every file ends it; what is done stays done and is returned.
    Raises FilesError for names that cannot be worked with, and for such an error, while nothing is done.
    """
    images, left_out = find_images(arguments, out)
    if named_format(out) not in (None, "png"):
        raise FilesError(
            f"{out}: attacked images are PNG files, which keep every pixel value; name a .png file or a folder"
        )
    outputs = plan_outputs(images, out, ".png")
    results = Results(failed=[(image.path, why) for image, why in left_out])
    with progress_bar() as bar:
        task = bar.add_task(order.attack.name, total=len(images))
        for place, (image, output) in enumerate(zip(images, outputs, strict=True), 1):
            try:
                results.done.append(_attack_file(order, image.path, output))
            except _HOPELESS as error:
                if not results.done and not results.failed:
                    raise FilesError(str(error)) from error
                results.failed.append((image.path, without_the_rest(error, len(images) - place)))
                break
            except (AttackError, ValueError, *EXPECTED) as error:
                results.failed.append((image.path, str(error)))
            except KeyboardInterrupt:
                results.interrupted = True
                break
            bar.advance(task)
    return results


def _attack_file(order: Order, file: Path, output: Path) -> Outcome:
    images = _read(file, order.settings)
    made = attack_alone(order.attack, images, order.metric, order.defense, order.seed)
    outcome = _measure(order, images, made, file, output)
    write_whole(output, made.file)
    return outcome


def _read(file: Path, settings: Settings) -> Tensor:
    images, _ = decode(file.read_bytes(), settings.limits)
    return images.to(pick_device(settings.device))


def _measure(order: Order, images: Tensor, made: AttackedImage, file: Path, output: Path) -> Outcome:
    scores = score_attack(order.attack, images, made.done, order.metric, order.defense, order.seed)
    change = ((made.done.images - images) * 255).round()
    error = change.square().mean().item()
    return Outcome(
        file=file,
        output=output,
        metric=order.metric_name,
        goal=order.attack.goal,
        attack=order.attack.model_dump(mode="json"),
        defense=None if order.defense is None else order.defense.model_dump(mode="json"),
        seed=order.seed,
        psnr=10 * torch.log10(torch.tensor(255**2 / error)).item() if error else None,
        flags=_doubts(order, [made.facts.first_slope], [scores.gained]),
        **made.facts.model_dump(),
        **scores.model_dump(),
    )


def _doubts(order: Order, first_slopes: list[float | None], gained: list[float | None]) -> list[Flag]:
    slopes = torch.tensor([torch.nan if one is None else one for one in first_slopes])
    known = torch.tensor([one for one in gained if one is not None])
    made = [*check_defense(order.attack, order.defense), *check_purpose(order.attack, order.metric, order.defense)]
    return [*check_gradients(slopes), *made, *check_effect(known)]


def learn_pattern(order: Order, arguments: list[str], out: Path, epochs: int) -> list[tuple[Path, str]]:
    """Learn a universal pattern on the images that the arguments name and write it; return what was left out, and why.

    Raises FilesError.
    """
    check_place(out)
    if order.attack.name != UNIVERSAL or out.suffix != ".safetensors" or out.is_dir():
        raise FilesError(f"--learn needs --attack {UNIVERSAL}, and -o must name a .safetensors file")
    recipe = Recipe(goal=order.attack.goal, epochs=epochs, seed=order.seed)
    images, others = find_images(arguments)
    left_out = [(image.path, why) for image, why in others]
    with progress_bar() as bar:
        task = bar.add_task("learn", total=epochs)
        pictures = _pictures(images, order, recipe.side, left_out)
        try:
            learned = learn(
                pictures, order.metric, recipe, order.defense, lambda done, _: bar.update(task, completed=done)
            )
            save(learned, out)
        except (ValueError, *EXPECTED) as error:
            raise FilesError("; ".join([str(error), *(f"{file}: {why}" for file, why in left_out)])) from error
    return left_out


def _pictures(images: list[ImageFile], order: Order, side: int, left_out: list[tuple[Path, str]]) -> Iterator[Tensor]:
    for image in images:
        try:
            picture = _read(image.path, order.settings)[0]
            seen = center(picture, side)[None]
            with torch.no_grad():
                order.metric(seen if order.defense is None else order.defense(seen, order.seed))
        except (ImageError, OSError, UnsuitableSizeError, MetricError, PurificationError) as error:
            left_out.append((image.path, str(error)))
            continue
        yield picture
