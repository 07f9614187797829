"""Gains, correlations and intervals, by hand."""

import math

import numpy as np
import pytest

from models.evaluation.bootstrap import bootstrap_mean
from models.evaluation.correlation import srocc
from models.evaluation.gains import absolute_gain, gain, relative_gain, shift


def test_gains_are_those_worked_out_by_hand():
    # c = 40, da = 50, dc = 44; a range of 0 to 100
    assert gain(40, 50) == 0.25
    assert gain(40, 30) == 0.25
    assert relative_gain(40, 50) == pytest.approx(10 / 40.000001)
    assert relative_gain(44, 50) == pytest.approx(6 / 44.000001)
    assert absolute_gain(40, 50, 100) == 0.1
    assert shift(40, 44) == 0.1
    assert shift(40, 36) == -0.1


def test_scores_below_zero_keep_the_gain_positive_and_zero_has_none():
    assert gain(-2, -1) == 0.5
    assert math.isnan(gain(0, 1))
    assert math.isnan(shift(0, 1))


def test_a_relative_gain_has_no_number_only_where_its_divisor_is_zero():
    assert relative_gain(0, 1) == pytest.approx(1e6)
    assert math.isnan(relative_gain(-1e-6, 1))


def test_a_range_without_width_is_refused():
    with pytest.raises(ValueError, match="width"):
        absolute_gain(1, 2, 0)


def test_srocc_is_that_worked_out_by_hand():
    # ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * 4 / (4 * 15)
    assert srocc([10, 20, 30, 40], [0.2, 0.1, 0.9, 0.5]) == pytest.approx(0.6)
    assert srocc([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert math.isnan(srocc([1, 2], [1, 2]))
    assert math.isnan(srocc([1, 2, 3], [5, 5, 5]))


def test_the_mean_weighs_every_value_alike_and_its_interval_is_reproducible():
    mean = bootstrap_mean([1, 2, 3, 6], ["a", "a", "b", "b"])
    assert mean.value == 3
    assert mean.n == 4
    assert (mean.low, mean.high) == (1.5, 4.5)  # both draws of the one image, or of the other
    assert bootstrap_mean([1, 2, 3, 6], ["a", "a", "b", "b"]) == mean


def test_an_image_with_more_values_weighs_more_in_the_mean_and_in_every_draw():
    values, images = [0] * 45 + [1], [*"abcde"] * 9 + ["f"]
    mean = bootstrap_mean(values, images)
    assert mean.value == 1 / 46
    # 97.5 % of draws hold the sixth image at most three times: 3 values of 1 beside 27 of 0
    assert (mean.low, mean.high) == (0, pytest.approx(0.1))


def test_the_interval_of_many_images_is_that_of_the_normal_law():
    values = np.random.default_rng(5).normal(10, 2, 400)
    mean = bootstrap_mean(list(values), list(range(400)))
    half = 1.96 * values.std() / 20
    assert mean.low == pytest.approx(mean.value - half, abs=0.015)
    assert mean.high == pytest.approx(mean.value + half, abs=0.015)


def test_attacks_on_one_image_do_not_make_a_mean_surer():
    values = list(np.random.default_rng(5).normal(10, 2, 20))
    once = bootstrap_mean(values, list(range(20)))
    thrice = bootstrap_mean(values * 3, [*range(20)] * 3)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


def test_one_image_has_a_mean_but_no_interval():
    assert bootstrap_mean([1, 3], ["a", "a"]) == (2, None, None, 2)
    with pytest.raises(ValueError, match="values"):
        bootstrap_mean([], [])
