"""What every attack promises. A new file in models/attacks/ is held to all of it without a line here."""

import atexit
import functools
import math
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from standin_metrics import Standin, photograph_like

from models.attack import Attack, AttackUnavailableError, NoGradientError
from models.attacks import ATTACKS, ORDERABLE, parse_attack
from models.defenses import parse_defense
from models.perturbation.universal import Recipe, learn, save
from models.tensors import MIN_SIDE

QUICK = {"queries": 80, "iterations": 6, "population": 20, "pairs": 5}
"""Smaller numbers than the defaults, where an attack has such a parameter and its default is larger."""

EVERY_CLASS = pytest.mark.parametrize("attack_class", ATTACKS.values(), ids=ATTACKS)


@functools.cache
def learned_pattern(goal, higher_is_better):
    """A file with a universal perturbation of the metric that the tests use."""
    file = Path(tempfile.mkdtemp(prefix="purifiqa-test-")) / "pattern.safetensors"
    atexit.register(shutil.rmtree, file.parent)
    images = [photograph_like(1, 33, 40, seed)[0] for seed in range(8)]
    recipe = Recipe(goal=goal, side=32, learning_rate=0.02, epochs=10)
    save(learn(images, Standin(higher_is_better=higher_is_better), recipe), file)
    return str(file)


def quick(attack_class, *, higher_is_better=True, **parameters):
    """The attack with fewer steps or queries, so that the test is soon done, and with what it has to be given."""
    fields = attack_class.model_fields
    fewer = {name: min(value, fields[name].default) for name, value in QUICK.items() if name in fields}
    if "file" in fields:
        fewer["file"] = learned_pattern(parameters.get("goal", "raise"), higher_is_better)
    return attack_class(**{**fewer, **parameters})


RUNNABLE = {name: kind for name, kind in ATTACKS.items() if quick(kind).availability().available}
EVERY_RUNNABLE = pytest.mark.parametrize("attack_class", RUNNABLE.values(), ids=RUNNABLE)
EVERY_UNAVAILABLE = pytest.mark.parametrize(
    "attack_class", [pytest.param(kind, id=name) for name, kind in ATTACKS.items() if name not in RUNNABLE]
)
WITH_BUDGET = {name: kind for name, kind in RUNNABLE.items() if kind.budgets is not Attack.budgets}


def sizes(attack):
    return [(side, width) for side, width in [(16, 16), (17, 31)] if side >= attack.min_side] or [
        (attack.min_side, attack.min_side + 5)
    ]


def parameters(attack_class):
    schema = attack_class.model_json_schema()
    definitions = schema.get("$defs", {})
    found = {name: part for name, part in schema["properties"].items() if name != "name"}
    return {
        name: {**definitions[part["$ref"].rpartition("/")[2]], **part} if "$ref" in part else part
        for name, part in found.items()
    }


def steps(images):
    """Values as whole numbers of 8-bit levels; fails for anything between."""
    levels = images * 255
    assert (levels - levels.round()).abs().max() < 1e-3
    return levels.round()


@pytest.mark.parametrize("higher_is_better", [True, False], ids=["higher-is-better", "lower-is-better"])
@pytest.mark.parametrize("goal", ["raise", "lower"])
@EVERY_RUNNABLE
def test_the_claimed_quality_goes_where_the_attacker_wants(attack_class, goal, higher_is_better):
    metric = Standin(higher_is_better=higher_is_better)
    attack = quick(attack_class, goal=goal, higher_is_better=higher_is_better)
    images = photograph_like(1, *sizes(attack)[-1])
    gained = metric(attack(images, metric)) - metric(images)
    assert gained.item() != 0
    assert (gained.item() > 0) == ((goal == "raise") == higher_is_better)


@EVERY_RUNNABLE
def test_the_output_is_8_bit_the_input_untouched_and_the_budget_held(attack_class):
    attack, metric = quick(attack_class), Standin()
    for size in sizes(attack):
        images = photograph_like(2, *size)
        before = images.clone()
        done = attack.run(images, metric, seed=[1, 2])
        assert torch.equal(images, before)
        assert done.images.shape == images.shape
        assert done.images.dtype == torch.float32
        assert done.images.min() >= 0
        assert done.images.max() <= 1
        assert not done.images.requires_grad
        change = (steps(done.images) - steps(images)).abs().amax(dim=(1, 2, 3))
        assert (done.budget is None) == (type(attack).budgets is Attack.budgets)
        assert done.budget is None or (change <= done.budget).all()
        assert done.queries.shape == (2,)
        assert (done.queries.min() == 0) == attack.universal


@EVERY_RUNNABLE
def test_an_image_and_its_seed_decide_the_result_alone_or_in_a_batch(attack_class):
    attack, metric = quick(attack_class), Standin()
    images = photograph_like(2, *sizes(attack)[-1])
    together = attack(images, metric, seed=[4, 5])
    alone = torch.cat([attack(image[None], metric, seed=seed) for image, seed in zip(images, (4, 5), strict=True)])
    assert torch.equal(together, alone)


@EVERY_RUNNABLE
def test_the_seed_matters_exactly_if_the_attack_is_stochastic(attack_class):
    attack, metric = quick(attack_class), Standin()
    images = photograph_like(1, *sizes(attack)[0]).expand(2, -1, -1, -1)
    first, second = attack(images, metric, seed=[1, 2])
    assert torch.equal(first, second) != attack.stochastic


@pytest.mark.parametrize(
    "defense",
    ["resize", "jpeg", '{"name": "random-noise", "sigma": 0.05}', '{"name": "chain", "steps": [{"name": "median-blur"}, {"name": "random-crop", "size": 16}]}'],
    ids=["smaller", "straight-through", "random", "chain"],
)  # fmt: skip
@EVERY_RUNNABLE
def test_with_a_defense_the_defended_score_is_attacked(attack_class, defense):
    defense, metric = parse_defense(defense), Standin()
    attack = quick(attack_class, draws=2 if defense.is_stochastic else 1)
    images = photograph_like(1, *(max(side, 24) for side in sizes(attack)[-1]))
    attacked = attack(images, metric, defense, seed=7)
    seeds = range(100, 120 if defense.is_stochastic else 101)  # of an evaluator, who draws others than the attack
    gained = [metric(defense(attacked, seed)) - metric(defense(images, seed)) for seed in seeds]
    hard = defense.is_stochastic or not defense.is_differentiable  # for few queries
    assert torch.stack(gained).mean() > 0 or attack.universal or (hard and not attack.white_box)


@pytest.mark.parametrize("value", [0.0, 1.0], ids=["black", "white"])
@EVERY_RUNNABLE
def test_pixels_at_the_end_of_the_scale_are_attacked_too(attack_class, value):
    attack = quick(attack_class)
    images = photograph_like(1, *sizes(attack)[0])
    half = images[..., images.shape[3] // 2 :]
    half[:] = value
    attacked = attack(images, Standin())[..., images.shape[3] // 2 :]
    assert not torch.equal(attacked, half) or type(attack).budgets is Attack.budgets


@EVERY_RUNNABLE
def test_a_metric_without_gradients_is_refused_exactly_by_a_white_box_attack(attack_class):
    attack, metric = quick(attack_class), Standin(differentiable=False)
    images = photograph_like(1, *sizes(attack)[0])
    if attack.white_box:
        with pytest.raises(NoGradientError, match="standin has none"):
            attack(images, metric)
    else:
        assert metric(attack(images, metric)) >= metric(images)


@pytest.mark.parametrize("attack_class", WITH_BUDGET.values(), ids=WITH_BUDGET)
@settings(max_examples=6, deadline=None, database=None, derandomize=True)
@given(data=st.data())
def test_a_budget_holds_exactly_whatever_it_is(attack_class, data):
    few = {"queries": 20, "iterations": 3}
    numbers = {}
    for name, schema in parameters(attack_class).items():
        if schema.get("type") == "number":
            numbers[name] = data.draw(st.floats(schema["minimum"], schema["maximum"]), name)
    attack = quick(attack_class, **numbers, **{k: v for k, v in few.items() if k in attack_class.model_fields})
    images = torch.rand(1, 3, *sizes(attack)[0], generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    done = attack.run(images, Standin(), seed=1)
    change = (steps(done.images) - images.mul(255).round()).abs().max()
    assert change <= done.budget[0] <= attack.budgets(images)[0] + 1e-3


@EVERY_UNAVAILABLE
def test_one_that_cannot_be_used_says_why_and_what_to_do(attack_class):
    state = attack_class().availability()
    assert state.reason
    assert state.cure
    with pytest.raises(AttackUnavailableError, match="cannot be used here"):
        attack_class()(torch.rand(1, 3, 128, 128), Standin())


@EVERY_CLASS
def test_the_name_is_that_of_the_file(attack_class):
    file = attack_class.__module__.rpartition(".")[2]
    assert attack_class().name == file.replace("_", "-")
    assert ATTACKS[attack_class().name] is attack_class


@EVERY_CLASS
def test_the_summary_is_one_full_sentence_and_the_source_is_told(attack_class):
    summary = attack_class.summary()
    assert summary[:1].isupper()
    assert summary.endswith(".")
    assert len(summary) <= 120
    assert attack_class.source


@EVERY_CLASS
def test_every_parameter_is_described_and_bounded(attack_class):
    for name, schema in parameters(attack_class).items():
        assert schema["description"].endswith("."), name
        assert "default" in schema, name
        match schema["type"]:
            case "integer" | "number":
                assert {"minimum", "maximum"} <= schema.keys(), name
                wrong = [schema["minimum"] - 1, schema["maximum"] + 1, math.nan, math.inf, "many", None]
            case "string":
                assert "enum" in schema or "maxLength" in schema, name
                wrong = [None, 3.5, "x" * 5000]
            case kind:
                assert kind == "boolean", name
                wrong = [None, 3.5]
        for value in wrong:
            with pytest.raises(ValidationError, match=name):
                attack_class(**{name: value})


@EVERY_CLASS
def test_unknown_parameters_are_refused_and_known_ones_are_fixed(attack_class):
    with pytest.raises(ValidationError, match="extra_forbidden"):
        attack_class(epsilonn=1)
    attack = attack_class()
    for name in attack_class.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(attack, name, getattr(attack, name))


@EVERY_CLASS
def test_every_preset_is_a_valid_value(attack_class):
    for name, values in attack_class.presets.items():
        assert len(values) == len(set(values)) > 1
        for value in values:
            assert getattr(attack_class(**{name: value}), name) == value


@EVERY_CLASS
def test_json_and_back_is_the_same_attack(attack_class):
    attack = attack_class(goal="lower", draws=3)
    copy = parse_attack(attack.model_dump_json())
    assert copy == attack
    assert type(copy) is type(attack)
    assert hash(copy) == hash(attack)
    assert parse_attack(attack_class().name) == attack_class()


@EVERY_RUNNABLE
def test_how_often_it_scores_an_image_is_known_beforehand(attack_class):
    attack = quick(attack_class)
    done = attack.run(photograph_like(1, *sizes(attack)[0]), Standin())
    assert done.queries.item() <= attack.evaluations + 1


@EVERY_CLASS
def test_only_one_that_reads_a_file_of_this_machine_cannot_be_ordered_from_another(attack_class):
    texts = [
        name for name, schema in parameters(attack_class).items() if schema["type"] == "string" and "enum" not in schema
    ]
    assert (attack_class in ORDERABLE.values()) == (not attack_class.is_local)
    assert attack_class.is_local == bool(texts), "free text may be the name of a file"


@EVERY_RUNNABLE
def test_what_is_too_small_is_refused(attack_class):
    side = max(attack_class().min_side, MIN_SIDE) - 1
    with pytest.raises(ValueError, match="at least"):
        attack_class()(torch.rand(1, 3, side, 64), Standin())
