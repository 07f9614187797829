"""Whether scores still rank images as they should."""

import math
from collections.abc import Sequence

from scipy.stats import spearmanr


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
