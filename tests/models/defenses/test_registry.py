import sys

import pytest
from pydantic import ValidationError

import models.defenses
from models.defense import Defense
from models.defenses import DEFENSES, UnknownDefenseError, make_defense, parse_defense
from models.defenses.jpeg import Jpeg
from models.discovery import concrete_by_name


def test_names_are_in_the_order_of_the_alphabet():
    assert list(DEFENSES) == sorted(DEFENSES)
    assert {"none", "flip", "chain", "jpeg"} <= DEFENSES.keys()


def test_a_defense_is_made_from_a_name_or_from_json():
    assert parse_defense(" jpeg ") == Jpeg()
    assert parse_defense('{"name": "jpeg", "quality": 7}') == Jpeg(quality=7)


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(UnknownDefenseError, match="did you mean 'gaussian-blur'") as caught:
        parse_defense("gausian_blur")
    assert caught.value.suggestion == "gaussian-blur"


def test_a_name_like_no_other_gets_the_list():
    with pytest.raises(UnknownDefenseError, match="there are barrage, bilateral, chain") as caught:
        parse_defense("zzz")
    assert caught.value.suggestion is None


@pytest.mark.parametrize("text", ["{", "[1]", '"jpeg"', "{}", '{"name": 3}', "[" * 100_000], ids=lambda text: text[:12])
def test_json_that_is_no_defense_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"defense|not JSON"):
        parse_defense(text)


def test_a_wrong_parameter_is_named():
    with pytest.raises(ValidationError, match="quality"):
        make_defense({"name": "jpeg", "quality": 101})


def test_two_defenses_of_one_name_do_not_start(tmp_path, monkeypatch):
    source = "from typing import Literal\nfrom models.defenses.flip import Flip\n\n\nclass {}(Flip):\n    name: Literal['{}'] = '{}'\n"
    (tmp_path / "one.py").write_text(source.format("One", "twin", "twin"))
    (tmp_path / "two.py").write_text(source.format("Two", "twin", "twin"))
    monkeypatch.setattr(models.defenses, "__path__", [str(tmp_path)])
    try:
        with pytest.raises(TypeError, match=r"two of models\.defenses are named 'twin'"):
            concrete_by_name(models.defenses, Defense)
    finally:
        for module in ("one", "two"):
            sys.modules.pop(f"models.defenses.{module}", None)
