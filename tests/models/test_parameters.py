"""Parameters are read from text with nothing guessed."""

import pytest
from pydantic import ValidationError

from models.attacks import parse_attack
from models.defenses import parse_defense


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"name": "jpeg", "quality": true}', ("quality",)),
        ('{"name": "diffpure", "timestep": false}', ("timestep",)),
        ('{"name": "chain", "steps": [{"name": "jpeg", "quality": true}]}', ("steps", 0, "jpeg", "quality")),
    ],
)
def test_true_is_no_number(text, place):
    with pytest.raises(ValidationError) as caught:
        parse_defense(text)
    first = caught.value.errors()[0]
    assert (first["loc"], first["msg"]) == (place, "it does not take true or false")


def test_a_switch_is_a_switch():
    assert parse_defense('{"name": "resize", "antialias": false}').antialias is False


@pytest.mark.parametrize("parse", [parse_defense, parse_attack])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"name": "none", "name": "flip"}', "'name' appears twice"),
        ('{"name": "chain", "steps": [{"name": "jpeg", "quality": 5, "quality": 95}]}', "'quality' appears twice"),
        (f'{{"name": "ifgsm", "epsilon": {"9" * 6000}}}', "a number of 6000 digits is too long"),
        ("[" * 100_000, "nested too deeply"),
        ('{"name": "jpeg"', "Expecting"),
    ],
    ids=["name", "within", "digits", "deep", "cut off"],
)
def test_what_could_be_read_in_two_ways_is_refused(parse, text, told):
    with pytest.raises(ValueError, match=told):
        parse(text)


def test_a_name_in_capitals_is_guessed_right_and_not_taken():
    with pytest.raises(ValueError, match="did you mean 'jpeg'"):
        parse_defense("JPEG")
    with pytest.raises(ValueError, match="did you mean 'ifgsm'"):
        parse_attack("I-FGSM")
