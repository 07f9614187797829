"""What one attacked image gains among honest ones, on scores whose ranks can be counted by hand."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from models.evaluation.cheating import climb, in_order

HONEST = [10.0, 20.0, 30.0, 40.0, 50.0]


def test_an_attack_that_raises_every_score_as_much_hides_from_ranks_of_all_and_shows_in_the_climb():
    raised = [score + 25 for score in HONEST]
    # past two others each, but past one from the fourth place and past none from the first
    assert climb(HONEST, [raised]).value == pytest.approx((2 + 2 + 2 + 1 + 0) / 5 / 4)


def test_an_attack_that_changes_nothing_gains_nothing():
    found = climb(HONEST, [HONEST])
    assert (found.value, found.low, found.high, found.n) == (0, 0, 0, 5)


def test_an_attack_that_beats_all_takes_every_image_to_the_top():
    # the mean image has half of the others before it
    assert climb(HONEST, [[100.0] * 5]).value == pytest.approx(0.5)


def test_a_score_that_falls_climbs_downwards_and_attacks_are_averaged():
    down = climb(HONEST, [[0.0] * 5])
    assert down.value == pytest.approx(-0.5)
    assert climb(HONEST, [[0.0] * 5, [100.0] * 5]).value == pytest.approx(0)


def test_a_tie_counts_one_half():
    # the cheat draws level with both others, which it was behind of
    assert climb([1.0, 5.0, 5.0], [[5.0, 5.0, 5.0]]).value == pytest.approx((0.5 + 0.5) / 3 / 2)


def test_honest_pairs_in_order_are_what_kendalls_tau_says():
    draw = np.random.default_rng(0)
    opinions, scores = draw.random(30).tolist(), draw.random(30).tolist()
    tau = kendalltau(opinions, scores).statistic
    assert in_order(opinions, scores, [scores]).value == pytest.approx((1 + tau) / 2)


def test_only_the_worse_image_of_a_pair_cheats():
    # the pairs (a, b), (a, c), (b, c): raised by 15, a passes b and b passes c
    assert in_order([1, 2, 3], [10, 20, 30], [[25, 35, 45]]).value == pytest.approx(1 / 3)
    # that the best one cheats too changes nothing
    assert in_order([1, 2, 3], [10, 20, 30], [[25, 35, 0]]).value == pytest.approx(1 / 3)


def test_pairs_of_equal_opinions_do_not_count():
    assert in_order([1, 1, 2], [20, 30, 10], [[20, 30, 10]]).value == 0
    assert in_order([1, 1, 1], [20, 30, 10], [[20, 30, 10]]) is None


@pytest.mark.slow
def test_intervals_draw_whole_images_and_cover_the_truth_nineteen_times_in_twenty():
    draw, covered, trials = np.random.default_rng(1), 0, 200
    for _ in range(trials):
        opinions = draw.random(40)
        scores = opinions + draw.normal(0, 0.3, 40)
        found = in_order(opinions.tolist(), scores.tolist(), [scores.tolist()])
        covered += found.low <= 0.745 <= found.high
    many = draw.random(3000)
    noisy = many + draw.normal(0, 0.3, 3000)
    assert (1 + kendalltau(many, noisy).statistic) / 2 == pytest.approx(0.745, abs=0.01)
    assert 0.88 <= covered / trials <= 0.99


def test_two_images_have_no_rank_and_lengths_must_fit():
    assert climb([1, 2], [[2, 3]]) is None
    with pytest.raises(ValueError, match="a number for each image"):
        climb([1, 2, 3], [[1, 2]])
    with pytest.raises(ValueError, match="a number for each image"):
        climb([1, 2, 3], [])
    with pytest.raises(ValueError, match="a number for each image"):
        in_order([1, 2], [1, 2, 3], [[1, 2, 3]])
