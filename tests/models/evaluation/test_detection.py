"""What shows in two scores, on shifts whose place among honest ones can be counted."""

import numpy as np
import pytest

from models.evaluation.detection import FEWEST, is_caught, limits


def test_the_limits_hold_the_middle_95_of_100():
    low, high = limits([float(shift) for shift in range(1001)])
    assert (low, high) == pytest.approx((25, 975))
    assert limits([3.0] * FEWEST) == (3, 3)


def test_a_shift_beyond_either_limit_is_caught_and_one_within_is_not():
    honest = [float(shift) for shift in range(-50, 51)]
    suspect = [60.0, -60.0, 0.0, 40.0] + [0.0] * (len(honest) - 4)
    assert is_caught(honest, suspect)[:5] == [True, True, False, False, False]


def test_the_honest_shift_of_the_picture_itself_does_not_widen_the_limits():
    honest = [0.0] * 30 + [100.0]
    assert is_caught(honest, honest) == [False] * 30 + [True]
    assert limits(honest)[1] > 0, "as it would if it were among those that it is compared with"


def test_each_picture_is_held_against_the_limits_of_all_others():
    draw = np.random.default_rng(1)
    honest, suspect = draw.normal(size=57).tolist(), draw.normal(scale=2, size=57).tolist()
    others = [limits([*honest[:place], *honest[place + 1 :]]) for place in range(57)]
    expected = [not low <= shift <= high for (low, high), shift in zip(others, suspect, strict=True)]
    assert is_caught(honest, suspect) == expected
    assert 5 < sum(expected) < 50


def test_honest_pictures_are_taken_for_attacked_a_little_more_often_than_one_in_twenty():
    draw, alarms = np.random.default_rng(0), []
    for _ in range(40):
        shifts = draw.normal(size=40).tolist()
        alarms += is_caught(shifts, shifts)
    assert 0.05 < np.mean(alarms) < 0.12


def test_too_few_honest_pictures_and_shifts_of_other_pictures_are_refused():
    with pytest.raises(ValueError, match="20 honest images, got 19"):
        limits([0.0] * (FEWEST - 1))
    with pytest.raises(ValueError, match="20 other honest images, got 19"):
        is_caught([0.0] * (FEWEST), [0.0] * FEWEST)
    with pytest.raises(ValueError, match="got 30 and 29"):
        is_caught([0.0] * 30, [0.0] * 29)
