"""Agreement of scores with opinions is what SciPy computes, with intervals that cover what they should."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from models.evaluation.correlation import agreement

OPINIONS = [3.1, 4.0, 1.2, 2.2, 4.8, 2.2, 3.6]
SCORES = [[50, 61, 22, 35, 60, 31, 44], [48, 52, 30, 52, 70, 11, 43]]


@pytest.mark.parametrize(("kind", "reference"), [("srocc", spearmanr), ("plcc", pearsonr)])
def test_the_value_is_the_mean_of_scipys_over_conditions(kind, reference):
    found = agreement(OPINIONS, SCORES, kind)
    assert found.value == pytest.approx(np.mean([reference(OPINIONS, row).statistic for row in SCORES]), abs=1e-12)
    assert -1 <= found.low < found.value < found.high <= 1
    assert found.n == 7
    assert found == agreement(OPINIONS, SCORES, kind)


def test_a_monotonic_curve_changes_ranks_not_at_all_and_the_linear_correlation():
    curved = [[2.0**value for value in OPINIONS]]
    assert agreement(OPINIONS, curved, "srocc").value == pytest.approx(1)
    assert 0.8 < agreement(OPINIONS, curved, "plcc").value < 0.999


@pytest.mark.parametrize(("kind", "reference"), [("srocc", spearmanr), ("plcc", pearsonr)])
def test_the_interval_is_that_of_scipys_values_in_each_draw(kind, reference, monkeypatch):
    monkeypatch.setattr("models.evaluation.bootstrap.RESAMPLES", 200)
    mos, rows = np.array(OPINIONS), np.array(SCORES)
    draws = np.random.default_rng(0).integers(0, 7, size=(200, 7))
    values = [np.mean([reference(mos[draw], row[draw]).statistic for row in rows]) for draw in draws]
    found = agreement(OPINIONS, SCORES, kind)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-9)


@pytest.mark.parametrize("kind", ["srocc", "plcc"])
def test_draws_of_one_image_alone_do_not_count(kind):
    assert agreement([1, 2, 3], [[1, 2, 3]], kind)[:3] == pytest.approx((1, 1, 1))


def test_the_interval_covers_the_true_correlation_nineteen_times_in_twenty():
    generator, covered, trials, truth = np.random.default_rng(0), 0, 200, 0.7
    for _ in range(trials):
        one, other = generator.multivariate_normal([0, 0], [[1, truth], [truth, 1]], size=60).T
        found = agreement(list(one), [list(other)], "plcc")
        covered += found.low <= truth <= found.high
    assert 0.88 <= covered / trials <= 0.99


@pytest.mark.parametrize("scores", [[[1.0, 1.0, 1.0]], [[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]])
def test_equal_scores_rank_nothing(scores):
    assert agreement([1, 2, 3], scores, "srocc") is None


def test_two_images_have_no_correlation_and_lengths_must_fit():
    assert agreement([1, 2], [[1, 2]], "plcc") is None
    with pytest.raises(ValueError, match="a number for each opinion"):
        agreement([1, 2, 3], [[1, 2]], "plcc")
