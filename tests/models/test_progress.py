"""How far a computation is, as its loops tell it."""

import pytest
import torch

from models.defenses import parse_defense
from models.diffusion.denoisers.ffdnet import FFDNetColor
from models.progress import telling, tracked


def test_without_a_listener_a_loop_is_just_a_loop():
    assert list(tracked("abc")) == ["a", "b", "c"]
    assert list(tracked([])) == []


def test_a_loop_inside_of_a_loop_tells_its_part_of_the_part():
    told = []
    with telling(told.append):
        for outer in tracked([0, 1]):
            for _ in tracked([0, 1] if outer else []):
                pass
    assert told == [0.5, 0.75]


def test_after_a_loop_that_was_left_in_the_middle_the_next_one_tells_right():
    told = []
    with telling(told.append):
        for _ in tracked(range(4)):
            for _ in tracked(range(2)):
                break
    assert told == [0.25, 0.5, 0.75]
    told.clear()
    with telling(told.append):
        assert list(tracked(range(2))) == [0, 1]
    assert told == [0.5]


def test_what_was_told_is_not_taken_back_and_little_is_no_news():
    told = []
    with telling(told.append):
        for _ in range(2):
            list(tracked(range(1000)))
    assert told == sorted(set(told))
    assert len(told) <= 50


@pytest.mark.parametrize(("text", "size", "turns"), [
    ('{"name": "diffpure", "sampler": "ddim", "steps": 4}', 32, 3),
    ('{"name": "diffpure", "sampler": "ancestral", "steps": 5}', 32, 4),
    ('{"name": "diffpure", "sampler": "dpm-solver", "steps": 3}', 32, 2),
    ("diffpure", 100, 3),  # tiles of 64 pixels, see below
    ('{"name": "chain", "steps": [{"name": "flip"}, {"name": "diffpure", "sampler": "ddim", "steps": 2}]}', 32, 2),
])  # fmt: skip
def test_a_defense_that_takes_long_tells_how_far_it_is(text, size, turns, monkeypatch):
    monkeypatch.setattr(FFDNetColor, "tile", 64)
    told = []
    with telling(told.append), torch.no_grad():
        parse_defense(text)(torch.rand(1, 3, size, size), 0)
    assert told == sorted(told)
    assert len(told) == turns
    assert 0 < told[0] < told[-1] < 1
