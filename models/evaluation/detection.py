"""Whether an attack shows in the two scores of an image, before and behind a defense. All of this is ours.

A *shift* is the defended score less the undefended one, as the service tells it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HONEST = 0.95
"""Share of the honest images whose shift lies within the limits."""
FEWEST = 20
"""Honest images; the limits of fewer say next to nothing."""
Numbers = NDArray[np.float64]


def limits(shifts: Sequence[float]) -> tuple[float, float]:
    """Return between which shifts the middle 95 % of the honest images lie: the quantiles of 2.5 % and 97.5 %.

    Raises ValueError for fewer than 20 images.
    """
    if len(shifts) < FEWEST:
        raise ValueError(f"limits need the shifts of {FEWEST} honest images, got {len(shifts)}")
    low, high = np.quantile(shifts, [(1 - HONEST) / 2, (1 + HONEST) / 2])
    return float(low), float(high)


def is_caught(honest: Sequence[float], suspect: Sequence[float]) -> list[bool]:
    """Return for each image whether its `suspect` shift lies outside the limits of the other images' honest shifts.

    Both are of the same images, in the same order: an image's own honest shift is not known to whoever looks at what
    came of it. With `honest` on both sides it tells the false alarms, of which there are a few more than 5 %.
    Raises ValueError for lengths that differ and for fewer than 21 images.
    """
    if len(honest) != len(suspect):
        raise ValueError(f"both shifts are of the same images, got {len(honest)} and {len(suspect)}")
    if len(honest) <= FEWEST:
        raise ValueError(f"limits need the shifts of {FEWEST} other honest images, got {len(honest) - 1}")
    low, high = (_quantile_of_others(np.asarray(honest), share) for share in ((1 - HONEST) / 2, (1 + HONEST) / 2))
    shifts = np.asarray(suspect)
    return [bool(one) for one in (shifts < low) | (shifts > high)]


def _quantile_of_others(values: Numbers, share: float) -> Numbers:
    """Return for each value the quantile of all others, between two of them as numpy's."""
    ordered, rank = np.sort(values), np.argsort(np.argsort(values))
    place = share * (len(values) - 2)
    below, part = int(place), place - int(place)
    ends = [ordered[end + (end >= rank)] for end in (below, min(below + 1, len(values) - 2))]
    found: Numbers = ends[0] + part * (ends[1] - ends[0])
    return found
