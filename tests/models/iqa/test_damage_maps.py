"""Where an image is damaged, as the learned metric that ships draws it."""

import pytest
import torch
import torch.nn.functional as F
from known_photographs import NAMES, pixels, tensor

from models.iqa.damage_maps import CELL, MAPS, WIDTH, DamageMaps
from models.iqa.efficientnet_lite import EfficientNetLite0
from models.iqa.fr_surrogate import FRSurrogate

EDGES = slice(0, 3)


@pytest.fixture(scope="module")
def shipped():
    return FRSurrogate.read()


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (250, 64)])
def test_each_place_of_eight_pixels_is_told_of_whatever_the_size(size):
    torch.manual_seed(0)
    drawn = DamageMaps()(EfficientNetLite0()(torch.rand(2, 3, *size)))
    places = tuple(-(-edge // CELL) for edge in size)
    assert drawn.hidden.shape == (2, WIDTH, *places)
    assert drawn.maps.shape == (2, MAPS, *places)


def test_an_image_is_drawn_alike_alone_and_in_company(shipped):
    images = torch.cat([tensor(pixels(name)) for name in NAMES[:3]])
    together = shipped.damage(shipped.trunk(images)).maps
    alone = torch.cat([shipped.damage(shipped.trunk(image[None])).maps for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_half_that_is_blurred_is_drawn_as_the_damaged_one(shipped, name):
    half = tensor(pixels(name))
    side = half.shape[3] // 2
    half[..., :side] = F.avg_pool2d(F.pad(half, (3, 3, 3, 3), mode="reflect"), 7, 1)[..., :side]
    maps = shipped.damage(shipped.trunk(half)).maps[:, EDGES].mean((0, 1, 2))
    middle = len(maps) // 2
    assert maps[: middle - 1].mean() < maps[middle + 1 :].mean() - 0.2
