"""What keeps a trunk without normalization from driving its last stages to where they learn nothing more."""

import pytest
import torch
from known_photographs import pixels

from training import imagenet, leash
from training.leash import Leash, moments

IMAGES = torch.stack([torch.from_numpy(pixels(name, 64).copy()) for name in ("coffee", "rocket")])
IMAGES = IMAGES.permute(0, 3, 1, 2).float() / 255


@pytest.fixture
def trunk(monkeypatch):
    monkeypatch.setattr(leash, "SETTLED", 3)
    return imagenet.trunk()


def look(trunk, kept):
    with kept.watching() as seen:
        trunk(IMAGES)
    return seen


def settled(trunk):
    kept = Leash(trunk)
    for _ in range(4):
        kept.hold(look(trunk, kept))
    return kept


def test_each_of_the_eleven_blocks_tells_the_moments_of_its_channels(trunk):
    seen = look(trunk, Leash(trunk))
    assert [len(one.mean) for one in seen] == [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112]
    first = trunk.stages[0](torch.nn.functional.relu6(trunk.stem(IMAGES * 2 - 1)))
    torch.testing.assert_close(seen[0].mean, first.mean((0, 2, 3)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen[0].deviation, first.std((0, 2, 3), correction=0), rtol=1e-4, atol=1e-4)


def test_weights_that_stay_near_what_they_were_are_left_alone(trunk):
    kept = settled(trunk)
    layer = trunk.stages[4][1].project
    with torch.no_grad():
        layer.weight *= 1.02
    before = [weights.clone() for weights in trunk.parameters()]
    for _ in range(5):
        kept.hold(look(trunk, kept))
    assert all(torch.equal(old, new) for old, new in zip(before, trunk.parameters(), strict=True))


def test_what_a_block_adds_is_drawn_back_when_it_grows_and_moves_without_bound(trunk):
    kept = settled(trunk)
    first = look(trunk, kept)[9]
    layer = trunk.stages[4][1].project
    for _ in range(300):  # as a training might, a little at every step
        with torch.no_grad():
            layer.weight *= 1.01
            layer.bias += 0.02
        kept.hold(look(trunk, kept))
    last = look(trunk, kept)[9]
    ratio = last.deviation / first.deviation
    assert 1.4 < ratio.median() < 2.6, "20 times without"
    assert ((last.mean - first.mean).abs() / first.deviation).median() < 3


def test_a_training_that_was_interrupted_keeps_its_leash(trunk):
    kept, other = settled(trunk), Leash(trunk)
    other.load(kept.state())
    given = [leash.Moments(one.mean + 5 * one.deviation, one.deviation * 3) for one in look(trunk, kept)]
    start = {name: value.clone() for name, value in trunk.state_dict().items()}
    ends = []
    for one in (kept, other):
        trunk.load_state_dict(start)
        for _ in range(60):
            one.hold(given)
        ends.append({name: value.clone() for name, value in trunk.state_dict().items()})
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    assert not torch.equal(ends[0]["stages.4.2.project.weight"], start["stages.4.2.project.weight"])


def test_moments_are_those_over_images_and_places():
    added = torch.randn(3, 5, 4, 16)
    told = moments(added)
    torch.testing.assert_close(told.mean, added.mean((0, 1, 2)))
    torch.testing.assert_close(told.deviation, added.std((0, 1, 2), correction=0))
