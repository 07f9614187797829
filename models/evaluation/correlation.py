"""Whether scores still rank images as they should."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from models.evaluation.bootstrap import Mean, interval, resamples

Kind = Literal["srocc", "plcc"]
Numbers = NDArray[np.float64]


def srocc(scores: Sequence[float], others: Sequence[float]) -> float:
    """Return Spearman's rank-order correlation of two scores of the same images, in [-1, 1].

    With (c, dc) it is the `robust_clear_srocc_clear` of arXiv 2408.01541, the variant that needs no human opinions;
    with (c, da) it says whether defended scores of attacked images rank them as the clean ones. With opinions in place
    of c, their `robust_clear_srocc_mos` and `robust_attacked_srocc_mos`. Ties get their mean rank.
    NaN for fewer than three images, or if all scores on one side are equal. Raises ValueError for lengths that differ.
    """
    if len(scores) != len(others):
        raise ValueError(f"both scores are of the same images, got {len(scores)} and {len(others)}")
    if len(scores) < 3 or len(set(scores)) == 1 or len(set(others)) == 1:
        return math.nan
    return float(spearmanr(scores, others).statistic)


def agreement(opinions: Sequence[float], scores: Sequence[Sequence[float]], kind: Kind) -> Mean | None:
    """Return how well scores follow opinions, in [-1, 1], with a 95 % percentile-bootstrap interval over images.

    `opinions` has a number per image, such as its mean opinion score (MOS); `scores` a row per condition, such as an
    attack, each with a number per image; the result is the mean over the rows of their correlations.

    srocc: r = cov(R(s), R(o)) / (sd(R(s)) sd(R(o))), R the ranks, ties with their mean rank: Spearman, The proof and
    measurement of association between two things, 1904; what arXiv 2404.06957 and 2408.01541 report.
    plcc: r = cov(s, o) / (sd(s) sd(o)): Pearson, 1895, of the scores themselves. ITU-T P.1401 fits a monotonic curve
    to the scores first; that is not done here.

    2000 draws of whole images; draws in which a side has a single value do not count. None for fewer than three images
    or if a side has a single value. Raises ValueError for lengths that differ.
    """
    if not scores or any(len(row) != len(opinions) for row in scores):
        raise ValueError("every row of scores has a number for each opinion")
    mos, rows = np.asarray(opinions, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    prepare: Callable[[Numbers], Numbers] = _ranks if kind == "srocc" else _same
    value = _correlations(prepare(mos[None]), [prepare(row[None]) for row in rows])[0]
    if len(mos) < 3 or not math.isfinite(value):
        return None
    drawn = resamples(len(mos))
    values = _correlations(prepare(mos[drawn]), [prepare(row[drawn]) for row in rows])
    return Mean(float(value), *interval(values[np.isfinite(values)]), len(mos))


def _correlations(opinions: Numbers, rows: Sequence[Numbers]) -> Numbers:
    """Return for every draw, (D, N), the mean over rows of the correlation; NaN where a side has a single value."""
    found = [_pearson(opinions, row) for row in rows]
    mean: Numbers = np.mean(found, axis=0)
    return mean


def _pearson(one: Numbers, other: Numbers) -> Numbers:
    is_flat = (np.ptp(one, axis=1) == 0) | (np.ptp(other, axis=1) == 0)
    one, other = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (one * other).sum(axis=1) / np.sqrt((one * one).sum(axis=1) * (other * other).sum(axis=1))
    return np.where(is_flat, np.nan, value)


def _ranks(values: Numbers) -> Numbers:
    ranks: Numbers = rankdata(values, axis=1)
    return ranks


def _same(values: Numbers) -> Numbers:
    return values
