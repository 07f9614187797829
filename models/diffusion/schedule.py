"""The noise schedule of DDPM (Ho, Jain, Abbeel 2020) that ADM and DiffPure use: linear beta, 1000 steps.

A *timestep* t counts steps: t = 0 is no noise, t = 1 the first step. Tables are indexed by t - 1, as DiffPure does.
A *sigma* is the standard deviation of the equivalent additive noise on images in [0, 1].
"""

import bisect
import math
from itertools import accumulate

STEPS = 1000
BETA_START, BETA_END = 1e-4, 0.02

_BETAS = [BETA_START + (BETA_END - BETA_START) * step / (STEPS - 1) for step in range(STEPS)]
_ALPHA_BARS = list(accumulate((1 - beta for beta in _BETAS), lambda product, alpha: product * alpha))
_SIGMAS = [0.0, *(math.sqrt(1 / alpha_bar - 1) / 2 for alpha_bar in _ALPHA_BARS)]


def alpha_bar(timestep: int) -> float:
    """Return the share of the image's variance left after `timestep` steps, 1 for none. Raises ValueError."""
    _check(timestep)
    return _ALPHA_BARS[timestep - 1] if timestep else 1.0


def sigma_of(timestep: int) -> float:
    """Return the sigma of a timestep in [0, 1000]: sqrt(1 / alpha_bar - 1) / 2. Raises ValueError."""
    _check(timestep)
    return _SIGMAS[timestep]


def timestep_of(sigma: float) -> float:
    """Return the timestep, fractional, whose sigma this is; linear between two steps. Raises ValueError."""
    if not 0 <= sigma <= _SIGMAS[-1] * (1 + 1e-6):  # float32 rounds the last one up
        raise ValueError(f"sigma must be between 0 and {_SIGMAS[-1]:.4g}, got {sigma}")
    above = min(max(1, bisect.bisect_left(_SIGMAS, sigma)), STEPS)
    low, high = _SIGMAS[above - 1], _SIGMAS[above]
    return min(above - 1 + (sigma - low) / (high - low), STEPS)


def _check(timestep: int) -> None:
    if not 0 <= timestep <= STEPS:
        raise ValueError(f"timestep must be between 0 and {STEPS}, got {timestep}")
