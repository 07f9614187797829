import pytest
import torch

from models.defenses.flip import Flip


@pytest.mark.parametrize("axis", ["both", "horizontal", "vertical"])
def test_flipping_twice_is_the_image(axis, picture):
    flip = Flip(axis=axis)
    assert torch.equal(flip(flip(picture)), picture)
    assert not torch.equal(flip(picture), picture)


def test_each_axis_mirrors_its_own_way(picture):
    assert torch.equal(Flip(axis="horizontal")(picture)[..., 0], picture[..., -1])
    assert torch.equal(Flip(axis="vertical")(picture)[..., 0, :], picture[..., -1, :])
    assert torch.equal(Flip()(picture), picture.rot90(2, dims=(2, 3)))
