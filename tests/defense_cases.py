"""Every defense with its defaults and at the ends of each parameter, and images to try them on: for the contracts."""

import math

import pytest
import torch

from models.defense import Defense
from models.defenses import DEFENSES

LONG = {"diffpure-squeeze-256"}
"""Cases that compute 256x256 pixels whatever the image's size: slow in every test but that of all parameters."""

NUMBERS = {"integer", "number"}
EVERY_CLASS = pytest.mark.parametrize("defense_class", DEFENSES.values(), ids=DEFENSES)


def parameters(defense_class):
    """The JSON Schema of each parameter, by name."""
    schema = defense_class.model_json_schema()
    definitions = schema.get("$defs", {})

    def follow(part):
        return {**definitions[part["$ref"].rpartition("/")[2]], **part} if "$ref" in part else part

    return {name: follow(part) for name, part in follow(schema)["properties"].items() if name != "name"}


def edge_values(schema):
    """The values of one parameter worth trying: the examples it gives, its choices, or its bounds."""
    if "examples" in schema:
        return schema["examples"]
    if "enum" in schema:
        return schema["enum"]
    if schema.get("type") == "boolean":
        return [False, True]
    if schema.get("type") in NUMBERS:
        return [schema["minimum"], schema["maximum"]]
    raise AssertionError("a parameter that is neither a number nor a choice needs examples")


def owner(defense_class, parameter):
    """The class that declares a parameter."""
    return next((kind for kind in defense_class.__mro__ if parameter in vars(kind).get("__annotations__", {})), None)


def variants(defense_class):
    """Defenses that differ from the default in one parameter, each with the default it differs from.

    What several defenses inherit from a common base is varied in the first of them only.
    """
    for parameter, schema in parameters(defense_class).items():
        if defense_class is not next(
            kind for kind in DEFENSES.values() if owner(kind, parameter) is owner(defense_class, parameter)
        ):
            continue
        others = schema.get("applies_with", {})
        for value in edge_values(schema):
            if value != schema.get("default"):
                label = value if isinstance(value, int | float | str) else "example"
                yield f"{parameter}-{label}", defense_class(**{**others, parameter: value}), defense_class(**others)


def edge_cases():
    for name, defense_class in DEFENSES.items():
        yield pytest.param(defense_class(), id=name)
        for label, defense, _ in variants(defense_class):
            case = f"{name}-{label}"
            yield pytest.param(defense, id=case, marks=pytest.mark.slow if case in LONG else ())


def runnable(defense):
    """Without the weights that a user must bring, only what a defense says about itself can be tested."""
    return defense.availability().available


EVERY_CASE = list(edge_cases())
EDGE_CASES = [case for case in EVERY_CASE if runnable(case.values[0])]
EVERY_RUNNABLE_CLASS = pytest.mark.parametrize(
    "defense_class", [pytest.param(kind, id=name) for name, kind in DEFENSES.items() if runnable(kind())]
)
EVERY_DEFENSE = pytest.mark.parametrize("defense", EDGE_CASES)
GEOMETRIC = pytest.mark.parametrize(
    "defense", [case for case in EDGE_CASES if type(case.values[0]).restore is not Defense.restore]
)


def noise_images(count, height, width, seed=0):
    """8-bit noise: the hardest content, and the kind of values that files hold."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator).float() / 255


def width_for(defense):
    """Wide enough that every parameter of the defense can matter: wider than the largest crop if it moves pixels."""
    return 2100 if type(defense).restore is not Defense.restore else 90


def smooth_pattern(height, width, seed=0):
    """Slow waves of random direction and color, (1, 3, H, W), within [-1, 1] and with no symmetry."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.arange(height)[:, None] / 64, torch.arange(width) / 64
    a, b, c = torch.rand(3, 3, 1, 1, generator=generator)
    return torch.sin(2 * math.pi * (a * y + b * x + c))[None]


def smooth_image(height, width):
    return 0.5 + 0.15 * smooth_pattern(height, width)
