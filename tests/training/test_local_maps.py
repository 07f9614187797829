"""The maps of damage that training the metric learns to draw besides scores."""

import pytest
import torch
import torch.nn.functional as F
from known_photographs import pixels

from models.iqa.damage_maps import CELL, MAPS, DamageMaps
from models.iqa.efficientnet_lite import EfficientNetLite0
from training.local_maps import loss, similarities


@pytest.fixture
def clean():
    return torch.from_numpy(pixels("astronaut", 128).copy()).permute(2, 0, 1)[None].float() / 255


def test_an_image_is_everywhere_like_itself(clean):
    maps = similarities(clean, clean)
    assert maps.shape == (1, MAPS, 128 // CELL, 128 // CELL)
    torch.testing.assert_close(maps, torch.ones_like(maps))


def test_damage_shows_where_it_is_and_nowhere_else(clean):
    damaged = clean.clone()
    damaged[..., 48:64, 80:96] = damaged[..., 48:64, 80:96].flip(1).flip(-1)
    lost = 1 - similarities(damaged, clean)
    assert lost[..., 6:8, 10:12].mean((0, 2, 3)).min() > 0.1
    lost[..., 5:9, 9:13] = 0  # an edge reaches one pixel further, of the smallest scale four
    assert lost.abs().max() < 1e-6


def test_blur_takes_more_of_the_fine_edges_than_of_the_coarse_ones(clean):
    blurred = F.avg_pool2d(F.pad(clean, (1, 1, 1, 1), mode="replicate"), 3, 1)
    fine, middle, coarse, _ = similarities(blurred, clean).mean((0, 2, 3)).tolist()
    assert fine + 0.03 < middle < coarse - 0.005


def test_a_change_of_hue_shows_in_colors_and_hardly_in_edges(clean):
    turned = clean.flip(1)
    *edges, color = similarities(turned, clean).mean((0, 2, 3)).tolist()
    assert color < 0.6 < 0.8 < min(edges)


def test_drawing_the_maps_is_learned_and_teaches_the_trunk(clean):
    torch.manual_seed(0)
    trunk, damage = EfficientNetLite0(), DamageMaps()
    damaged = clean.clone()
    damaged[..., :64] = F.avg_pool2d(damaged[..., :64], 5, 1, 2)
    optimizer = torch.optim.Adam([*trunk.parameters(), *damage.parameters()], 1e-3)
    losses = []
    for _ in range(12):
        far = loss(damage(trunk(damaged)), damaged, clean)
        optimizer.zero_grad()
        far.backward()
        optimizer.step()
        losses.append(far.item())
    assert losses[-1] < 0.8 * losses[0]
    assert trunk.stem.weight.grad.abs().max() > 0
