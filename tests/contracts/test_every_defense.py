"""What every defense promises. A new file in models/defenses/ is held to all of it without a line here."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.defense import Cost, Defense
from models.defenses import DEFENSES, parse_defense
from models.tensors import MIN_SIDE

SIZES = [(16, 16), (17, 33), (31, 64)]
FORGETFUL = {
    "fcn": "its instance norm forgets how bright and how rich in contrast an image was: the method as published"
}
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
            yield pytest.param(defense, id=f"{name}-{label}")


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


def assert_is_an_image(purified, count, size):
    assert purified.shape == (count, 3, *size)
    assert purified.dtype == torch.float32
    assert purified.isfinite().all()
    assert purified.min() >= 0
    assert purified.max() <= 1


@pytest.mark.parametrize("size", SIZES, ids=str)
@EVERY_DEFENSE
def test_the_output_is_an_image_of_the_promised_size_and_the_input_is_untouched(defense, size):
    images = noise_images(2, *size)
    before = images.clone()
    purified = defense(images, [1, 2])
    assert_is_an_image(purified, 2, defense.output_size(size))
    assert torch.equal(images, before)
    assert purified.data_ptr() != images.data_ptr()
    assert min(defense.output_size(size)) >= MIN_SIDE


@EVERY_RUNNABLE_CLASS
@settings(max_examples=8, deadline=None, database=None, derandomize=True)
@given(height=st.integers(MIN_SIDE, 70), width=st.integers(MIN_SIDE, 70))
def test_any_size_is_purified(defense_class, height, width):
    defense = defense_class()
    assert_is_an_image(defense(noise_images(1, height, width)), 1, defense.output_size((height, width)))


@EVERY_DEFENSE
def test_an_image_and_its_seed_decide_the_output_alone_or_in_a_batch(defense):
    images = noise_images(3, 21, 40)
    together = defense(images, [4, 5, 6])
    alone = torch.cat([defense(images[i : i + 1], 4 + i) for i in range(3)])
    again = defense(images, [4, 5, 6])
    tolerance = 0 if defense.effective_cost is Cost.CHEAP else 1e-4
    torch.testing.assert_close(together, alone, rtol=0, atol=tolerance)
    torch.testing.assert_close(together, again, rtol=0, atol=tolerance)


@EVERY_DEFENSE
def test_the_seed_matters_exactly_if_the_defense_is_stochastic(defense):
    images = noise_images(1, 18, width_for(defense)).expand(4, -1, -1, -1)
    purified = defense(images, [1, 2, 3, 4])
    changed = any(not torch.equal(purified[0], other) for other in purified[1:])
    assert changed == defense.is_stochastic
    same = defense(images[:2], 9)
    assert torch.equal(same[0], same[1])


@EVERY_RUNNABLE_CLASS
def test_every_parameter_matters(defense_class):
    images = 0.99 * noise_images(1, 18, width_for(defense_class()))  # between the 8-bit levels
    for label, defense, default in variants(defense_class):
        if runnable(defense):
            purified, expected = defense(images, 3), default(images, 3)
            assert purified.shape != expected.shape or not torch.equal(purified, expected), label


@EVERY_DEFENSE
def test_memory_layout_does_not_matter(defense):
    images = noise_images(2, 20, 37)
    expected = defense(images, 3)
    for view in (
        images.transpose(2, 3).contiguous().transpose(2, 3),
        images.contiguous(memory_format=torch.channels_last),
        torch.cat([images, images], dim=3)[..., :37],
    ):
        assert not view.is_contiguous()
        assert torch.equal(defense(view, 3), expected)


@EVERY_DEFENSE
def test_asking_for_a_gradient_does_not_change_the_output(defense):
    images = noise_images(2, 24, 33)
    with_gradient = defense(images.clone().requires_grad_(), [7, 8])
    assert with_gradient.requires_grad
    torch.testing.assert_close(with_gradient.detach(), defense(images, [7, 8]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("defense", [case for case in EDGE_CASES if case.values[0].is_differentiable])
def test_an_exact_gradient_agrees_with_finite_differences(defense):
    size, step = (
        (24, 32),
        2e-6,
    )  # a small step, for polynomial rounding jumps; smooth directions average float32's error
    image = smooth_image(*size)
    errors = []
    for pair in range(7):
        direction = smooth_pattern(*size, seed=10 + pair)
        weights = 1 + 0.5 * smooth_pattern(*defense.output_size(size), seed=20 + pair)
        variable = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(defense(variable, 5), variable, weights)
        up, down = defense(image + step * direction, 5), defense(image - step * direction, 5)
        difference = ((up - down).double() * weights).sum() / (2 * step)
        scale = (gradient * weights.mean()).norm() * direction.norm()
        assert scale > 0
        errors.append(((gradient * direction).sum() - difference).abs() / scale)
    assert torch.stack(errors).median() < 0.01


@pytest.mark.parametrize("defense", [case for case in EDGE_CASES if not case.values[0].is_differentiable])
def test_a_gradient_that_is_not_exact_is_that_of_the_surrogate(defense):
    images = smooth_image(24, 32).requires_grad_()
    weights = smooth_pattern(*defense.output_size((24, 32)), seed=1)
    (gradient,) = torch.autograd.grad(defense(images, 5), images, weights)
    assert gradient.norm() > 0
    if type(defense).straight_through is Defense.straight_through:
        (expected,) = torch.autograd.grad(defense.surrogate(images), images, weights)
        torch.testing.assert_close(gradient, expected)


@GEOMETRIC
def test_aligning_a_geometric_defense_brings_the_image_back_to_its_place(defense):
    image = smooth_image(70, 90).repeat(2, 1, 1, 1)
    aligned = defense.align(defense(image, [1, 2]), (70, 90), [1, 2])
    assert aligned.valid.any(dim=(1, 2, 3)).all()
    errors = (aligned.images - image).abs()[aligned.valid.expand_as(image)]
    assert errors.mean() < 0.01


@EVERY_DEFENSE
def test_aligning_gives_an_image_and_a_mask_of_the_input_size(defense):
    images = noise_images(2, 33, 20)
    purified = defense(images, [1, 2])
    aligned = defense.align(purified, (33, 20), [1, 2])
    assert aligned.images.shape == images.shape
    assert aligned.images.isfinite().all()
    assert aligned.valid.shape == (2, 1, 33, 20)
    assert aligned.valid.dtype == torch.bool


@EVERY_RUNNABLE_CLASS
def test_the_default_parameters_hardly_change_a_smooth_image(defense_class, request):
    if defense_class().name in FORGETFUL:
        request.applymarker(pytest.mark.xfail(strict=True, reason=FORGETFUL[defense_class().name]))
    defense, image = defense_class(), smooth_image(70, 90)
    aligned = defense.align(defense(image, 1), (70, 90), 1)
    assert (aligned.images - image).abs()[aligned.valid.expand_as(image)].mean() < 0.03


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


@EVERY_DEFENSE
def test_json_and_back_is_the_same_defense(defense):
    copy = parse_defense(defense.model_dump_json())
    assert copy == defense
    assert type(copy) is type(defense)
    assert hash(copy) == hash(defense)


@EVERY_CLASS
def test_the_name_alone_is_the_default(defense_class):
    assert parse_defense(defense_class().name) == defense_class()
