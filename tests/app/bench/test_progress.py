"""The time left is told from what each kind of step took, and in words."""

from collections import Counter

import pytest

from app.bench.progress import Estimate, spoken


def test_nothing_is_known_before_a_step_has_ended():
    assert Estimate(Counter(blur=3), jobs=2).seconds_left is None


def test_each_kind_takes_its_own_mean_an_unseen_one_that_of_the_kinds_and_processes_share_it():
    estimate = Estimate(Counter(blur=3, attack=2, restore=5), jobs=2)
    for kind, seconds in (("blur", 1), ("blur", 3), ("attack", 100)):
        estimate.ended(kind, seconds)
    assert estimate.seconds_left == (1 * 2 + 1 * 100 + 5 * (2 + 100) / 2) / 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (29, "less than a minute left"),
        (31, "1 min left"),
        (59 * 60, "59 min left"),
        (3600, "1 h 00 min left"),
        (2 * 3600 + 5 * 60, "2 h 05 min left"),
    ],
)
def test_a_duration_is_told_as_people_say_it(seconds, words):
    assert spoken(seconds) == words
