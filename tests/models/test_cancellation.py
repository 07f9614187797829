"""Stopping a computation from outside."""

import time

import pytest
import torch
from torch import nn

from models.cancellation import cancellable, cancellation_point
from models.defenses import parse_defense


class StopError(Exception):
    """What the test stops with."""


class After:
    """A check that stops at the n-th time it is asked."""

    def __init__(self, count):
        self.left, self.asked = count, 0

    def __call__(self):
        self.asked += 1
        if self.asked >= self.left:
            raise StopError


def test_outside_nothing_is_checked():
    cancellation_point()
    with cancellable(After(10)):
        pass
    cancellation_point()
    nn.Linear(1, 1)(torch.zeros(1))


def test_every_layer_of_every_network_can_be_the_last():
    network = nn.Sequential(*(nn.Identity() for _ in range(5)))
    check = After(4)
    with pytest.raises(StopError), cancellable(check):
        network(torch.zeros(1))
    assert check.asked == 4
    network(torch.zeros(1))


@pytest.mark.parametrize(
    "text",
    [
        "diffpure",
        '{"name": "diffpure", "sampler": "ddim", "steps": 3}',
        '{"name": "diffpure", "denoiser": "ffdnet-pyramid", "sampler": "ancestral"}',
        "fcn",
        "fcn-curves",
        '{"name": "chain", "steps": [{"name": "blur"}, {"name": "flip"}]}',
    ],
)
def test_the_defenses_that_ship_stop_wherever_they_are_asked_and_are_not_changed_by_that(text):
    if "blur" in text:
        text = text.replace('"blur"', '"median-blur"')
    defense = parse_defense(text)
    images = torch.rand(1, 3, 64, 64)
    counting = After(10**9)
    with cancellable(counting), torch.no_grad():
        expected = defense(images, 3)
    assert counting.asked > 1
    for place in (1, counting.asked // 2 + 1, counting.asked):
        with pytest.raises(StopError), cancellable(After(place)), torch.no_grad():
            defense(images, 3)
    with torch.no_grad():
        assert torch.equal(defense(images, 3), expected)


def test_between_two_points_of_a_large_image_passes_little_time():
    """The contract is a second on a quiet CPU; a slow one is allowed five, of its own time."""
    last, longest = time.thread_time(), 0.0

    def check():
        nonlocal last, longest
        longest, last = max(longest, time.thread_time() - last), time.thread_time()

    with cancellable(check), torch.no_grad():
        parse_defense("diffpure")(torch.rand(1, 3, 576, 768), 0)
    assert longest < 5
