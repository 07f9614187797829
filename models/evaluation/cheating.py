"""Whether it pays to cheat: one attacked image among honest ones, all of them ranked by their scores.

Correlation over images that are *all* attacked hides what an attack is for, because scores that all rise by as much
rank as before. Here each image in turn is the only one that is attacked. Both measures are ours.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Mean, interval, resamples

FEWEST = 3
"""Images; among fewer there is no rank to speak of."""
Numbers = NDArray[np.float64]


def climb(honest: Sequence[float], attacked: Sequence[Sequence[float]]) -> Mean | None:
    """Return which share of the others an image passes once it is attacked, in [-1, 1]; 0: cheating does not pay.

    `honest` has a score per image, higher is better; `attacked` a row per attack, each with the scores of the same
    images attacked. Mean over images i, others j and attacks of [k_i > h_j] - [h_i > h_j], a tie counting one half,
    with a 95 % percentile-bootstrap interval over images. None for fewer than three images.
    Raises ValueError for lengths that differ.
    """
    scores, rows = _checked(honest, attacked)
    pairs = 1 - np.eye(len(scores))
    return _share((_mean_beats(rows, scores) - _mean_beats(scores[None], scores)) * pairs, pairs)


def in_order(opinions: Sequence[float], better: Sequence[float], worse: Sequence[Sequence[float]]) -> Mean | None:
    """Return the share of pairs that scores put in the order of the opinions, in [0, 1]; 0.5 by chance.

    In each pair with different opinions the worse image has its score in `worse`, a row per attack, the better one in
    `better`; with the same scores on both sides nobody cheats, and the share is (1 + Kendall's tau) / 2. A tie counts
    one half. Higher is better in opinions and scores. 95 % percentile-bootstrap interval over images. None for fewer
    than three images or if all opinions are the same. Raises ValueError for lengths that differ.
    """
    scores, rows = _checked(better, worse)
    mos, _ = _checked(opinions, worse)
    pairs = (mos[:, None] < mos[None]).astype(np.float64)
    return _share((1 - _mean_beats(rows, scores)) * pairs, pairs)


def _checked(ones: Sequence[float], rows: Sequence[Sequence[float]]) -> tuple[Numbers, Numbers]:
    if not rows or any(len(row) != len(ones) for row in rows):
        raise ValueError("every row of scores has a number for each image")
    return np.asarray(ones, dtype=np.float64), np.asarray(rows, dtype=np.float64)


def _mean_beats(rows: Numbers, others: Numbers) -> Numbers:
    """Return for every image i and other j in which share of the rows i beats j, a tie counting one half."""
    beats = np.zeros((len(others), len(others)))
    for row in rows:
        beats += (1 + np.sign(row[:, None] - others[None])) / 2
    return beats / len(rows)


def _share(values: Numbers, pairs: Numbers) -> Mean | None:
    """Return the mean of the values over the pairs, both (N, N), drawing whole images for the interval."""
    if len(pairs) < FEWEST or not pairs.any():
        return None
    drawn = resamples(len(pairs))
    times = np.stack([np.bincount(draw, minlength=len(pairs)) for draw in drawn]).astype(np.float64)
    sums, counts = (((times @ matrix) * times).sum(axis=1) for matrix in (values, pairs))
    ends = interval(sums[counts > 0] / counts[counts > 0])
    return Mean(float(values.sum() / pairs.sum()), *ends, len(pairs))
