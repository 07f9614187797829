"""One perturbation for all images: how it is learned, kept in a file, and read back."""

import functools
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.attack import Goal, NoGradientError
from models.attack_target import Target
from models.defense import Defense
from models.metric import Metric
from models.noise import MAX_SEED, derive_seed
from models.whole_files import write_whole

KEY, FACTS = "perturbation", "purifiqa"


class UniversalFileError(ValueError):
    """A file does not hold a universal perturbation that can be used; the message names it and says why."""


class Recipe(BaseModel):
    """How a universal perturbation is learned; the defaults are those of Guardians of Image Quality."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    goal: Goal = Field(Goal.RAISE, description="Which way the claimed quality shall go.")
    side: int = Field(256, ge=16, le=1024, description="Of the square that is learned, in pixels.")
    limit: float = Field(25.5, ge=1, le=64, description="Largest value while learning, in 8-bit levels.")
    learning_rate: float = Field(0.001, ge=1e-6, le=1, description="Adam's step; 1: from black to white.")
    epochs: int = Field(5, ge=1, le=1000, description="How often every image is seen.")
    batch: int = Field(8, ge=1, le=256, description="Images per step.")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Of the order of the images and of a defense's randomness.")


class Facts(BaseModel):
    """Where a perturbation comes from, kept in its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    metric_version: str | None = None
    """None in files that are older than this field."""
    defense: str | None
    images: int
    recipe: Recipe


class Universal(BaseModel):
    """A learned perturbation."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    pattern: Tensor
    """(3, side, side), within [-1, 1]; 1 is the whole budget."""
    facts: Facts

    def over(self, images: Tensor) -> Tensor:
        """Return the pattern repeated over the size of `images`, (1, 3, H, W)."""
        height, width = images.shape[2:]
        times = [-(-length // side) for length, side in zip((height, width), self.pattern.shape[1:], strict=True)]
        return self.pattern.to(images).repeat(1, *times)[None, :, :height, :width]


def learn(
    images: Iterable[Tensor],
    metric: Metric,
    recipe: Recipe,
    defense: Defense | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Universal:
    """Learn one perturbation on float32 images in [0, 1], (3, H, W) each, whose centers are cut to the pattern's size.

    `progress` is told how many of how many epochs are done. Raises ValueError without images, NoGradientError for a
    metric without gradients, and what the metric and the defense raise.
    """
    if not metric.card.differentiable:
        raise NoGradientError(f"learning a universal perturbation needs gradients, and {metric.card.name} has none")
    limit = recipe.limit / 255
    pattern = torch.zeros(3, recipe.side, recipe.side)
    adam = torch.optim.Adam([pattern], lr=recipe.learning_rate)
    order = torch.Generator().manual_seed(recipe.seed)
    crops = [center(image, recipe.side).clone() for image in images]
    if not crops:
        raise ValueError("a universal perturbation needs images to learn from")
    sign, fresh = recipe.goal.sign(metric), itertools.count(1)
    with torch.no_grad():
        for epoch in range(recipe.epochs):
            for batch in _batches(crops, recipe.batch, order):
                seeds = tuple(derive_seed(recipe.seed, next(fresh), "learn") for _ in batch)
                target = Target(batch, seeds, metric, defense, sign=sign, draws=1, budget=None)
                perturbed = batch + pattern[:, : batch.shape[2], : batch.shape[3]].to(batch)
                gradient = target.gradient(perturbed.clamp(0, 1)).gradient
                gradient = gradient.where((perturbed >= 0) & (perturbed <= 1), 0).mean(dim=0).cpu()
                missing = (0, recipe.side - batch.shape[3], 0, recipe.side - batch.shape[2])
                pattern.grad = F.pad(gradient, missing)
                adam.step()
                pattern.clamp_(-limit, limit)
            if progress:
                progress(epoch + 1, recipe.epochs)
    facts = Facts(
        metric=metric.card.name,
        metric_version=metric.card.version,
        defense=None if defense is None else defense.model_dump_json(),
        images=len(crops),
        recipe=recipe,
    )
    return Universal(pattern=pattern / pattern.abs().max().clamp(min=1e-12), facts=facts)


def save(universal: Universal, file: Path) -> None:
    """Write it as safetensors, all or nothing. Raises OSError, with the file that cannot be written."""
    facts = {FACTS: universal.facts.model_dump_json()}
    data = safetensors.torch.save({KEY: universal.pattern.contiguous()}, facts)
    write_whole(file, data)


def load(file: Path) -> Universal:
    """Read it back. Raises UniversalFileError."""
    try:
        return _load(file, file.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise UniversalFileError(f"{file} does not exist") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UniversalFileError(f"{str(file)!r} cannot be read: {getattr(error, 'strerror', error)}") from error


@functools.lru_cache(maxsize=4)
def _load(file: Path, _changed: int) -> Universal:
    try:
        with safe_open(file, "pt") as opened:
            pattern = opened.get_tensor(KEY)
            facts = Facts.model_validate_json((opened.metadata() or {}).get(FACTS, "{}"))
    except (OSError, SafetensorError, ValidationError, json.JSONDecodeError) as error:
        raise UniversalFileError(
            f"{file} does not hold a pattern that `purifiqa attack --learn` wrote: {error}"
        ) from error
    is_image = pattern.ndim == 3 and pattern.shape[0] == 3 and pattern.numel() > 0
    if not is_image or pattern.dtype != torch.float32 or not bool((pattern.abs() <= 1).all()):
        raise UniversalFileError(f"{file} is damaged: its perturbation is not float32 (3, H, W) within [-1, 1]")
    return Universal(pattern=pattern, facts=facts)


def center(image: Tensor, side: int) -> Tensor:
    """Return the middle of an image, (3, H, W), that a pattern of `side` pixels is learned on: at most as large."""
    height, width = image.shape[1:]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return image[:, top : top + side, left : left + side]


def _batches(images: Sequence[Tensor], size: int, order: torch.Generator) -> list[Tensor]:
    """Return the images in a random order, stacked with others of their size."""
    by_size: dict[torch.Size, list[Tensor]] = defaultdict(list)
    for number in torch.randperm(len(images), generator=order).tolist():
        by_size[images[number].shape].append(images[number])
    return [
        torch.stack(alike[start : start + size]) for alike in by_size.values() for start in range(0, len(alike), size)
    ]
