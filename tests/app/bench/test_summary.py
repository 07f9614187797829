"""The rows of the report's main table, on cells whose means, ranks and medians can be worked out by hand."""

import pytest

from app.bench.cells import CLEAN, Cell
from app.bench.items import find_attacks, find_defenses, find_metrics
from app.bench.parameters import Parameters
from app.bench.report.summary import grouped, is_on_front, rows
from models.evaluation.bootstrap import Mean

PICTURES = "abcd"
CLEAN_SCORES = [1.0, 2.0, 3.0, 4.0]


@pytest.fixture(scope="module")
def parameters():
    return Parameters(
        size=None, seed=0, device="cpu", pictures=(), metrics=find_metrics(["entropy"], is_preset=False).items,
        attacks=find_attacks(["ifgsm", "mifgsm", "fgsm", "madc"], is_preset=False).items,
        defenses=find_defenses(["jpeg", "flip"], is_preset=False).items, pairs=(), gallery=0, adaptive=("jpeg",),
    )  # fmt: skip


def cells(attack, defense, scores, *, adaptive=False, **measures):
    return [
        Cell(image, "entropy", attack, defense, adaptive, {"score": score, "clean_score": clean, "ms": 1, **measures})
        for image, score, clean in zip(PICTURES, scores, CLEAN_SCORES, strict=True)
    ]


def measured():
    found = [
        *cells(CLEAN, "jpeg", [2, 1, 4, 3], clean_shift=-0.25, aligned_quality=0.75, ms=5),
        *cells("ifgsm", "jpeg", [1, 2, 3, 4], gain=0.1, aligned_quality=0.5, quality=0.4, similarity=0.9, ms=2),
        *cells("fgsm", "jpeg", [20, 10, 40, 30], gain=0.3, aligned_quality=0.5, quality=0.2, similarity=0.7, ms=2),
        *cells("fgsm", "none", [1, 2, 4, 3], gain=0.6),
        *cells("ifgsm", "jpeg", [1, 2, 3, 4], adaptive=True, gain=0.9),
    ]
    found[0].measures["ms"] = 1000
    return found


def test_a_row_has_means_over_attacked_and_over_clean_pictures_and_the_median_time(parameters):
    best, second, last = rows(measured(), parameters, "entropy", adaptive=False)
    assert (best.defense, second.defense, last.defense) == ("jpeg", "none", "flip")
    assert (best.gain.value, best.gain.n, second.gain.value, last.gain) == (pytest.approx(0.2), 8, 0.6, None)
    assert (best.quality.value, best.similarity.value) == (pytest.approx(0.3), pytest.approx(0.8))
    assert (best.aligned_quality.value, best.clean_quality.value, best.clean_shift.value) == (0.5, 0.75, -0.25)
    assert (best.milliseconds, last.milliseconds) == (2, None)


def test_ranks_are_compared_with_those_of_clean_scores_attack_by_attack(parameters):
    best, second, last = rows(measured(), parameters, "entropy", adaptive=False)
    assert best.srocc_clean == pytest.approx(0.6)
    assert best.srocc_attacked == pytest.approx((1 + 0.6) / 2), "the mean over attacks, not that of all scores together"
    assert (second.srocc_clean, second.srocc_attacked) == (None, pytest.approx(0.8))
    assert (last.srocc_clean, last.srocc_attacked) == (None, None)


def test_only_defenses_that_were_attacked_through_are_rows_of_adaptive_attacks(parameters):
    [row] = rows(measured(), parameters, "entropy", adaptive=True)
    assert (row.defense, row.gain.value, row.gain.n) == ("jpeg", pytest.approx(0.9), 4)


def test_gains_are_told_by_attack_or_by_group_and_what_was_not_measured_is_absent(parameters):
    one_by_one = grouped(measured(), parameters, "entropy", adaptive=False, by_group=False)
    assert {attack: {name: round(mean.value, 6) for name, mean in row.items()} for attack, row in one_by_one.items()} == {
        "ifgsm": {"jpeg": 0.1}, "fgsm": {"none": 0.6, "jpeg": 0.3},
    }  # fmt: skip
    together = grouped(measured(), parameters, "entropy", adaptive=False, by_group=True)
    assert {group: round(row["jpeg"].value, 6) for group, row in together.items()} == {
        "iterated fgsm": 0.1,
        "fgsm": 0.3,
    }


def test_the_attack_of_one_step_is_not_in_the_papers_group_of_iterated_ones(parameters):
    found = [*measured(), *cells("mifgsm", "jpeg", [1, 2, 3, 4], gain=0.2)]
    means = {
        group: round(row["jpeg"].value, 6)
        for group, row in grouped(found, parameters, "entropy", adaptive=False, by_group=True).items()
    }
    assert means == {"iterated fgsm": 0.15, "fgsm": 0.3}


def test_what_equals_another_in_both_is_on_the_front_with_it():
    one, equal, worse = ((Mean(gain, None, None, 1), Mean(quality, None, None, 1))
                         for gain, quality in ((0.2, 0.7), (0.2, 0.7), (0.2, 0.6)))  # fmt: skip
    assert is_on_front(one, [one, equal, worse])
    assert not is_on_front(worse, [one, worse])
