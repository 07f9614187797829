"""Orders computed together give what each gives alone, for every defense that may be batched, with no line here."""

import cv2
import pytest
import torch
from defense_cases import EDGE_CASES, noise_images, smooth_image

from models.defenses import parse_defense
from models.images import ImageFormat, encode
from workers.jobs import execute, execute_together
from workers.orders import DefenseOrder, Kind
from workers.together import Room

PIXEL_TOLERANCE = 1e-4
"""A fortieth of an 8-bit level; on CPUs that we measured, diffpure differs by 0 and fcn by 5e-7."""
SCORE_TOLERANCE = 1e-3
"""Of a score from 0 to 100."""

BATCHABLE = [case for case in EDGE_CASES if case.values[0].is_batchable]
PLENTY = Room(10**9)


def files(height=40, width=52):
    """A calm photo, a disturbed one and noise: `timestep` auto chooses differently for each."""
    calm = smooth_image(height, width)
    images = [calm, (calm + 0.1 * (noise_images(1, height, width) - 0.5)).clamp(0, 1), noise_images(1, height, width)]
    return [encode(image, ImageFormat.PNG) for image in images]


def orders_of(defense):
    return [
        DefenseOrder(kind=Kind.PURIFY, defense=defense, seed=5, metrics=("fr-surrogate",)),
        DefenseOrder(kind=Kind.SCORE, defense=defense, seed=5, metrics=("brisque", "fr-surrogate"), samples=2),
        DefenseOrder(kind=Kind.PURIFY, defense=defense, seed=7),
    ]


def assert_together_is_alone(defense, room=PLENTY):
    orders = list(zip(orders_of(defense), files(), strict=True))
    for (order, data), outcome in zip(orders, execute_together(orders, room=room), strict=True):
        [alone] = execute_together([(order, data)])
        torch.testing.assert_close(outcome.purified, alone.purified, rtol=0, atol=PIXEL_TOLERANCE)
        report, _ = execute(order, data)
        batched, _ = execute(order, data, outcome=outcome)
        assert [one.metric for one in batched.scores] == list(order.metrics)
        for one, other in zip(batched.scores, report.scores, strict=True):
            assert one.model_dump(exclude={"original", "defended", "shift"}) == other.model_dump(
                exclude={"original", "defended", "shift"}
            )
            assert one.original == pytest.approx(other.original, abs=SCORE_TOLERANCE)
            assert one.defended == pytest.approx(other.defended, abs=SCORE_TOLERANCE)


def test_defenses_that_run_a_network_are_batchable_and_those_whose_work_is_reading_files_are_not():
    names = {case.id for case in BATCHABLE}
    assert {"diffpure", "diffpure-unsharp", "diffpure-edges", "fcn"} <= names
    assert not {"none", "jpeg", "median-blur", "chain"} & names
    assert parse_defense('{"name": "chain", "steps": [{"name": "jpeg"}, {"name": "fcn"}]}').is_batchable


@pytest.mark.parametrize("defense", BATCHABLE)
def test_orders_computed_together_give_what_each_gives_alone(defense):
    assert_together_is_alone(defense)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("fields", ['"timestep": "auto"', '"timestep": 10', '"timestep": 30, "margin": 0.05'])
def test_mixed_noise_levels_in_either_precision_give_what_each_gives_alone(precision, fields, monkeypatch):
    monkeypatch.setenv("PURIFIQA_PRECISION", precision)
    assert_together_is_alone(parse_defense(f'{{"name": "diffpure", {fields}}}'))


@pytest.mark.parametrize("images_at_once", [0, 1, 2, 3])
def test_it_does_not_matter_how_the_batch_is_cut(images_at_once):
    assert_together_is_alone(parse_defense("diffpure"), Room(images_at_once * 40 * 52))


def test_the_shipped_diffpure_is_bit_equal_in_the_file_that_is_sent():
    orders = list(zip(orders_of(parse_defense("diffpure")), files(96, 128), strict=True))
    for (order, data), outcome in zip(orders, execute_together(orders, room=PLENTY), strict=True):
        _, alone = execute(order, data)
        _, together = execute(order, data, outcome=outcome)
        if order.kind is Kind.PURIFY:
            levels = [
                cv2.imdecode(torch.frombuffer(bytearray(one), dtype=torch.uint8).numpy(), 1)
                for one in (alone, together)
            ]
            assert abs(levels[0].astype(int) - levels[1]).max() == 0
        else:
            assert (alone, together) == (None, None)
