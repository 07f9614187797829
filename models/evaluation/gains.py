"""How far a score is from where it should be: the Gain of arXiv 2404.06957 and the gains of arXiv 2408.01541.

Throughout, c = f(clean), a = f(attacked), dc = f(D(clean)) and da = f(D(attacked)) for a metric f and a defense D, and
R is the width of the metric's range. All are per image; the papers take the mean over images. Lower is better.
"""

import math

EPSILON = 1e-6
"""What Guardians of Image Quality add to a score before dividing by it."""


def gain(clean: float, defended: float) -> float:
    """Return |c - da| / |c|, the Gain of arXiv 2404.06957: 0 means that the defense undid the attack.

    The paper divides by c, whose metrics are positive; the magnitude matters for scores below 0 only. NaN for c = 0.
    """
    return abs(clean - defended) / abs(clean) if clean else math.nan


def relative_gain(reference: float, score: float) -> float:
    """Return |reference - score| / (reference + 1e-6), a relative gain of arXiv 2408.01541.

    With (c, da) it is `robust_rel_gain`, with (dc, da) `both_defended_rel_gain`, with (c, a) `nonpurified_rel_gain`.
    As there, a reference below 0 gives a negative number, which means nothing. NaN for a reference of -1e-6.
    """
    divisor = reference + EPSILON
    return abs(reference - score) / divisor if divisor else math.nan


def absolute_gain(reference: float, score: float, width: float) -> float:
    """Return |reference - score| / R, an absolute gain of arXiv 2408.01541; pairs as in `relative_gain`.

    Raises ValueError unless `width`, R, is above 0.
    """
    if not width > 0:
        raise ValueError(f"a range has a width above 0, got {width}")
    return abs(reference - score) / width


def shift(clean: float, defended_clean: float) -> float:
    """Return (dc - c) / |c|: what the defense does to the score of an image nobody attacked. NaN for c = 0."""
    return (defended_clean - clean) / abs(clean) if clean else math.nan
