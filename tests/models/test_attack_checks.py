"""Doubts about results, and that each is explained."""

import re
from pathlib import Path

import pytest
import torch
from standin_metrics import Standin, photograph_like

from app.bench.report.doubts import CHANGES_NOTHING, CLEAN_NEAR_ZERO, WEAKER_THAN_TRANSFER
from models.attack_checks import Code, Flag, check_black_box, check_defense, check_effect, check_gradients
from models.attacks import parse_attack
from models.defense import Defense
from models.defenses import parse_defense

PAGE = Path(__file__).parents[2] / "docs" / "attacks.md"


class Posterized(Defense):
    """Four levels, through which autograd finds zero: what gradient masking looks like."""

    name: str = "posterized"
    differentiable = True
    stochastic = False
    share: float = 0

    def purify(self, images, noise):
        return (images * 3).round() / 3 + self.share * images * 0.5


def codes(flags):
    return [flag.code for flag in flags]


def test_a_zero_gradient_is_flagged_and_a_good_one_is_not():
    images, attack = photograph_like(2, 16, 16), parse_attack("fgsm")
    assert check_gradients(attack.run(images, Standin()).first_slope) == []
    masked = attack.run(images, Standin(), Posterized())
    assert codes(check_gradients(masked.first_slope)) == [Code.ZERO_GRADIENT]
    assert torch.equal(masked.images, images)


def test_a_vanishing_gradient_is_flagged():
    images, attack = photograph_like(2, 16, 16), parse_attack("fgsm")
    vanishing = attack.run(images, Standin(), Posterized(share=1e-4))
    assert codes(check_gradients(vanishing.first_slope)) == [Code.VANISHING_GRADIENT]


def test_a_gradient_vanishes_that_promises_less_than_a_thousandth_of_the_range():
    slopes = torch.tensor([0.0, 0.254, 0.256, float("nan")])
    zero, small = check_gradients(slopes)
    assert "1 of 3 images" in zero.message
    assert "1 of 3 images" in small.message


def test_an_attack_that_asks_for_no_gradient_is_not_doubted_for_it():
    done = parse_attack('{"name": "square", "queries": 5}').run(photograph_like(1, 16, 16), Standin())
    assert check_gradients(done.first_slope) == []


@pytest.mark.parametrize(
    ("attack", "defense", "expected"),
    [
        ("ifgsm", None, []),
        ("ifgsm", "resize", []),
        ("ifgsm", "jpeg", [Code.STRAIGHT_THROUGH]),
        ("square", "jpeg", []),
        ("ifgsm", "random-noise", [Code.RANDOMNESS_NOT_AVERAGED]),
        ('{"name": "ifgsm", "draws": 4}', "random-noise", []),
        ("uap", "random-noise", []),
        (
            "ifgsm",
            '{"name": "chain", "steps": [{"name": "jpeg"}, {"name": "rotate"}]}',
            [Code.RANDOMNESS_NOT_AVERAGED, Code.STRAIGHT_THROUGH],
        ),
    ],
)
def test_what_weakens_an_adaptive_attack_is_flagged(attack, defense, expected):
    made = None if defense is None else parse_defense(defense)
    assert codes(check_defense(parse_attack(attack), made)) == expected


def test_no_effect_and_a_black_box_that_wins_are_flagged():
    assert check_effect(torch.tensor([0.1, 0.2])) == []
    [nothing] = check_effect(torch.tensor([0.1, 0.0, -1.0]))
    assert nothing.code is Code.NO_EFFECT
    assert "2 of 3 images" in nothing.message
    assert check_black_box(torch.tensor([0.5, 0.7]), torch.tensor([0.1, 0.6])) == []
    [flag] = check_black_box(torch.tensor([0.1, 0.1]), torch.tensor([0.4, 0.6]))
    assert flag.code is Code.BLACK_BOX_WINS
    assert "0.5" in flag.message


def test_every_flag_leads_to_its_explanation():
    headings = re.findall(r"^### `([a-z-]+)`$", PAGE.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted([*Code, CHANGES_NOTHING, CLEAN_NEAR_ZERO, WEAKER_THAN_TRANSFER])
    for code in Code:
        assert Flag(code, "").link == f"docs/attacks.md#{code}"
