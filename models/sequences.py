"""Defenses one after the other: how they purify, how what they moved is put back, and what they are together."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from models.availability import AVAILABLE, Availability
from models.defense import Aligned, Cost, Defense
from models.noise import Noise
from models.progress import tracked


def listed(given: Any) -> tuple[Any, ...] | None:
    """Return what was given as a list of defenses, None if it is no list: words and objects can be gone through too."""
    is_list = isinstance(given, Iterable) and not isinstance(given, str | bytes | dict)
    return tuple(given) if is_list else None


def purify(steps: Sequence[Defense], images: Tensor, noise: Noise) -> Tensor:
    """Purify with each in turn; step i draws from part i of the noise, and brings its own gradient."""
    for index, step in tracked(list(enumerate(steps))):
        images = step.apply(images, noise.child(index))
    return images


def restore(steps: Sequence[Defense], purified: Tensor, size: tuple[int, int], noise: Noise) -> Aligned:
    """Map what `purify` made of images of (height, width) back onto their grid, as `Defense.restore` does."""
    images, valid = purified, torch.ones_like(purified[:, :1], dtype=torch.bool)
    for index, size_before in reversed(list(enumerate(sizes(steps, size)))):
        step = steps[index]
        mask = step.restore(valid.expand(-1, 3, -1, -1).to(images), size_before, noise.child(index))
        images, _ = step.restore(images, size_before, noise.child(index))
        valid = mask.valid & (mask.images[:, :1] > 0.999)  # a pixel mixed with an invalid one is invalid
    return Aligned(images, valid)


def sizes(steps: Sequence[Defense], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the (height, width) that each step is given."""
    given = [size]
    for step in steps[:-1]:
        given.append(step.output_size(given[-1]))
    return given


def availability(parts: Sequence[Defense]) -> Availability:
    """Return that of the first that cannot be used here, or that all can."""
    return next((found for found in (part.availability() for part in parts) if not found.available), AVAILABLE)


def cost(parts: Sequence[Defense]) -> Cost:
    """Return that of the most costly of them."""
    return max((part.effective_cost for part in parts), key=list(Cost).index)
