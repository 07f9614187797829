"""How sure a mean is: percentile bootstrap over images."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95


class Mean(NamedTuple):
    """A mean and its 95 % interval."""

    value: float
    low: float | None
    """None: there were not two images to draw from."""
    high: float | None
    n: int
    """Values behind it."""


def bootstrap_mean(values: Sequence[float], images: Sequence[Hashable]) -> Mean:
    """Return the mean of finite `values` with its 95 % percentile-bootstrap interval.

    `images` names the image that each value belongs to. Whole images are drawn, with all their values: attacks on one
    image are not independent of each other. 2000 draws, always the same ones. Of few images it is too
    narrow: of normal values it holds the true mean in 80 of 100 cases for 4 images, 89 for 8, 93 for 24.
    Efron, Tibshirani, An Introduction to the Bootstrap, 1993. Raises ValueError without values or for lengths that
    differ.
    """
    if not values or len(values) != len(images):
        raise ValueError(f"a mean needs values and the image of each, got {len(values)} and {len(images)}")
    numbers = {image: number for number, image in enumerate(dict.fromkeys(images))}
    of = np.array([numbers[image] for image in images])
    sums = np.bincount(of, weights=np.asarray(values, dtype=np.float64))
    counts = np.bincount(of)
    mean = float(sums.sum() / counts.sum())
    if len(numbers) < 2:
        return Mean(mean, None, None, len(values))
    drawn = resamples(len(numbers))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return Mean(mean, *interval(means), len(values))


def resamples(count: int) -> NDArray[np.int64]:
    """Return which of `count` images are drawn, (RESAMPLES, count), each time the same ones."""
    return np.random.default_rng(0).integers(0, count, size=(RESAMPLES, count))


def interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the 95 % percentile interval of what was found in each draw."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
