"""What every defense says about itself and its parameters, with or without its weights."""

import math

import pytest
from defense_cases import EVERY_CASE, EVERY_CLASS, parameters
from pydantic import ValidationError

from models.defenses import DEFENSES, parse_defense


@EVERY_CLASS
def test_the_class_facts_are_those_of_the_default_parameters(defense_class):
    defense = defense_class()
    assert defense.is_stochastic == defense_class.stochastic
    assert defense.is_differentiable == defense_class.differentiable
    assert defense.effective_cost == defense_class.cost


@EVERY_CLASS
def test_the_name_is_that_of_the_file(defense_class):
    file = defense_class.__module__.rpartition(".")[2]
    assert defense_class().name == file.replace("_", "-")
    assert DEFENSES[defense_class().name] is defense_class


@EVERY_CLASS
def test_the_summary_is_one_full_sentence(defense_class):
    summary = defense_class.summary()
    assert summary[:1].isupper()
    assert summary.endswith(".")
    assert len(summary) <= 120


@EVERY_CLASS
def test_every_parameter_is_described_and_bounded(defense_class):
    for name, schema in parameters(defense_class).items():
        assert schema["description"].endswith("."), name
        assert "default" in schema, name
        for choice in schema.get("anyOf", [schema]):
            assert is_bounded(choice), f"{name} could be anything"


def is_bounded(schema):
    if "enum" in schema or "const" in schema:
        return True
    match schema.get("type"):
        case "integer" | "number":
            return {"minimum", "maximum"} <= schema.keys()
        case "array":
            return {"minItems", "maxItems"} <= schema.keys()
        case "string":
            return {"pattern", "maxLength"} <= schema.keys()
        case kind:
            return kind == "boolean"


@EVERY_CLASS
def test_values_outside_the_bounds_are_refused(defense_class):
    for name, schema in parameters(defense_class).items():
        choices = schema.get("anyOf", [schema])
        if (number := next((one for one in choices if "minimum" in one), None)) is not None:
            wrong = [number["minimum"] - 1, number["maximum"] + 1, math.nan, math.inf, -math.inf, "many", None]
        else:
            wrong = ["no such choice", None, 3.5]
        for value in wrong:
            with pytest.raises(ValidationError, match=name):
                defense_class(**{name: value})


@EVERY_CLASS
def test_unknown_parameters_are_refused_and_known_ones_are_fixed(defense_class):
    with pytest.raises(ValidationError, match="extra_forbidden"):
        defense_class(strenght=1)
    defense = defense_class()
    for name in defense_class.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(defense, name, getattr(defense, name))


@EVERY_CLASS
def test_every_preset_is_a_valid_value(defense_class):
    for name, values in defense_class.presets.items():
        assert len(values) == len(set(values)) > 1
        for value in values:
            assert getattr(defense_class(**{name: value}), name) == value


@pytest.mark.parametrize("defense", EVERY_CASE)
def test_json_and_back_is_the_same_defense(defense):
    copy = parse_defense(defense.model_dump_json())
    assert copy == defense
    assert type(copy) is type(defense)
    assert hash(copy) == hash(defense)


@EVERY_CLASS
def test_the_name_alone_is_the_default(defense_class):
    assert parse_defense(defense_class().name) == defense_class()
