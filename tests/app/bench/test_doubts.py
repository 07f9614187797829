"""A study doubts attacks that are weaker than they could be."""

import dataclasses

import pytest

from app.bench.cells import Cell
from app.bench.choices import Choices, draft
from app.bench.report.doubts import doubts
from models.attacks.square import Square


@pytest.fixture
def parameters(tmp_path, standin):
    attacks = 'ifgsm,mifgsm,{"name": "fgsm", "goal": "lower"},{"name": "square", "queries": 9}'
    choices = Choices(tmp_path, tmp_path / "out", attacks=attacks, defenses="jpeg,random-noise", metrics="standin")
    return draft(choices, "1").parameters


def cell(attack, defense="none", *, adaptive=False, score=6.0, linf=10, slope=100.0, image="a", clean=5.0):
    moved = abs(score - 5) / 5
    measures = {
        "score": score, "defended_clean_score": clean, "linf": linf, "first_slope": slope, "movement": moved,
        "psnr": 40.0,
    }  # fmt: skip
    if attack == SQUARE:
        del measures["first_slope"]
    return Cell(image, "standin", attack, defense, adaptive, measures)


SQUARE, NOT_AVERAGED = "square(queries=9)", "randomness-not-averaged"
LOWER = "fgsm(goal=lower)"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([cell("ifgsm"), cell(SQUARE, score=5.5)], []),
        ([cell("ifgsm", slope=0.0)], [("ifgsm", "nothing", "zero-gradient")]),
        ([cell("ifgsm", score=4.9)], [("ifgsm", "nothing", "no-effect")]),
        ([cell("ifgsm"), cell(SQUARE, score=7)], [(SQUARE, "nothing", "black-box-wins")]),
        ([cell("ifgsm"), cell(SQUARE, score=7, linf=25)], []),
        ([cell("ifgsm"), cell("ifgsm", image="b", score=5.1, linf=0)], [("ifgsm", "nothing", "changes-nothing")]),
        (
            [cell(SQUARE, "jpeg", adaptive=True, linf=0), cell(SQUARE, "jpeg", linf=0)],
            [(SQUARE, "jpeg", "changes-nothing")],
        ),
        ([cell("ifgsm", "jpeg", adaptive=True)], [("ifgsm", "jpeg", "straight-through")]),
        ([cell("ifgsm", "random-noise", adaptive=True)], [("ifgsm", "random-noise", "randomness-not-averaged")]),
        (
            [cell(SQUARE, "jpeg", adaptive=True, score=5.5), cell(SQUARE, "jpeg", score=5.6)],
            [(SQUARE, "jpeg", "weaker-than-transfer")],
        ),
        (
            [cell(SQUARE, "jpeg", adaptive=True, score=5.445), cell(SQUARE, "jpeg", score=5.5)],
            [(SQUARE, "jpeg", "weaker-than-transfer")],
        ),
        ([cell(SQUARE, "jpeg", adaptive=True, score=5.455), cell(SQUARE, "jpeg", score=5.5)], []),
        (
            [cell(SQUARE, "jpeg", adaptive=True, score=4), cell(SQUARE, "jpeg", score=5.5)],  # further, the wrong way
            [(SQUARE, "jpeg", "no-effect"), (SQUARE, "jpeg", "weaker-than-transfer")],
        ),
        ([cell(SQUARE, "jpeg", adaptive=True, score=5.5), cell(SQUARE, "jpeg", score=4)], []),
        (
            [cell(SQUARE, "jpeg", adaptive=True, score=4.05), cell(SQUARE, "jpeg", score=4)],
            [(SQUARE, "jpeg", "no-effect")],
        ),
        ([cell(SQUARE, "jpeg", adaptive=True, score=5.6), cell(SQUARE, "jpeg", score=5.5)], []),
        (
            [cell("ifgsm", "random-noise", adaptive=True), cell(SQUARE, "random-noise", adaptive=True, score=7)],
            [
                ("ifgsm", "random-noise", NOT_AVERAGED),
                (SQUARE, "random-noise", NOT_AVERAGED),
                (SQUARE, "random-noise", "black-box-wins"),
            ],
        ),
        ([cell("ifgsm", image="b"), cell(SQUARE, score=7)], []),
        ([cell("ifgsm"), cell("mifgsm", score=8), cell(SQUARE, score=7)], []),
        ([cell(LOWER, score=4)], []),
        ([cell(LOWER, score=5.1)], [(LOWER, "nothing", "no-effect")]),
        ([cell(LOWER, score=4), cell(SQUARE, score=7)], []),
    ],
    ids=[
        "none",
        "zero",
        "no effect",
        "black box",
        "stronger black box",
        "an attack that leaves a picture as it was",
        "an attack that leaves a picture as it was through a defense",
        "bpda",
        "no eot",
        "weaker",
        "more than a tenth weaker",
        "hardly weaker",
        "further the wrong way",
        "transfer the wrong way",
        "transfer a little further the wrong way",
        "stronger",
        "black box through a defense",
        "black box on other pictures",
        "black box beaten by another",
        "lowered",
        "not lowered",
        "black box with another goal",
    ],
)
def test_each_reason_to_doubt_is_told_where_it_holds_and_nowhere_else(parameters, cells, expected):
    found = [(attack, through, code) for _, attack, through, code, _ in doubts(parameters, cells)]
    assert found == expected


def test_a_pattern_that_was_learned_beforehand_is_no_black_box_that_wins(parameters, monkeypatch):
    monkeypatch.setattr(Square, "universal", True)
    assert list(doubts(parameters, [cell("ifgsm"), cell(SQUARE, score=7)])) == []


@pytest.mark.parametrize(
    ("clean", "told"),
    [((5, 6, 4), 0), ((5, 0.1, 4), 1), ((-5, -6, -4), 0), ((5, -5, 4), 1), ((10, 1.42, 10), 1), ((10, 1.44, 10), 0)],
)
def test_scores_near_zero_are_nothing_to_divide_by(parameters, clean, told):
    cells = [cell("ifgsm", image=str(n), clean=float(one), score=one + 1.0) for n, one in enumerate(clean)]
    found = [why for _, _, _, code, why in doubts(parameters, cells) if code == "clean-score-near-zero"]
    assert [why.partition(" of ")[2].split()[0] for why in found] == ["1"] * told


def test_defended_scores_near_zero_are_told_of_the_defense(parameters):
    clean = {"a": 5.0, "b": 0.01, "c": 4.0}
    cells = [cell("ifgsm", "jpeg", image=name, clean=one, score=one + 1) for name, one in clean.items()]
    [(_, attack, through, code, why)] = doubts(parameters, cells)
    assert (attack, through, code) == ("all", "jpeg", "clean-score-near-zero")
    assert "1 of 3 pictures behind it" in why
    assert "movement" in why


def test_other_pictures_are_no_comparison(parameters):
    cells = [cell(SQUARE, "jpeg", adaptive=True, score=5.5), cell(SQUARE, "jpeg", score=5.6, image="b")]
    assert list(doubts(parameters, cells)) == []
    assert list(doubts(parameters, [dataclasses.replace(cells[0], attack="clean")])) == []


@pytest.mark.parametrize(
    ("psnr", "told"), [((150.0, 40.0, 150.0), ["2 of 3 clean pictures"]), ((40.0, 50.0, 60.0), [])]
)
def test_a_defense_that_hands_pictures_out_as_they_came_is_told(parameters, psnr, told):
    cells = [
        Cell(str(number), "standin", attack, defense, False, {"psnr": one})
        for attack in ("clean", "ifgsm")
        for defense in ("none", "jpeg")
        for number, one in enumerate(psnr)
    ]
    found = [(through, why) for _, _, through, code, why in doubts(parameters, cells) if code == "changes-nothing"]
    assert found == [("jpeg", f"{words} are not changed by it at all") for words in told]
