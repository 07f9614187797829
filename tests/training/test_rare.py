"""Crops made into what photographs seldom show."""

import pytest
import torch
from known_photographs import NAMES, pixels, tensor

from training.drawn import painted, typed
from training.rare import SEEDS_PER_CALL, cutout, enlarged, gray, mixed, rare, toned, unfocused, vivid

CROPS = torch.cat([tensor(pixels(name))[..., :96, :96] for name in NAMES] * 6)
KINDS = [cutout, enlarged, gray, mixed, painted, rare, toned, typed, unfocused, vivid]


def spread(images):
    return float((images.amax(1) - images.amin(1)).mean())


def detail(images):
    return float(images.diff(dim=3).abs().mean())


def chroma_detail(images):
    return detail(images[:, :1] - images[:, 1:2])


@pytest.mark.parametrize("kind", KINDS)
def test_crops_are_made_in_8_bits_and_decided_by_the_seed(kind):
    made = kind(CROPS, seed=5)
    assert made.shape == CROPS.shape
    assert torch.equal(made, kind(CROPS, seed=5))
    assert not torch.equal(made, kind(CROPS, seed=6))
    torch.testing.assert_close(made * 255, (made * 255).round(), rtol=0, atol=1e-4)
    assert 0 <= float(made.min()) < float(made.max()) <= 1


def test_vivid_crops_have_stronger_colors():
    assert spread(vivid(CROPS, seed=5)) > 1.3 * spread(CROPS)


@pytest.mark.parametrize("kind", [cutout, toned, vivid])
def test_a_crop_is_made_alike_whatever_comes_after_it(kind):
    torch.testing.assert_close(kind(CROPS[:3], seed=1), kind(CROPS, seed=1)[:3], rtol=0, atol=0)


def test_toned_crops_keep_the_order_of_their_channels_and_change_less_than_vivid_ones():
    made = toned(CROPS, seed=5)
    apart = (CROPS[:, :1] - CROPS[:, 1:2]).abs() > 0.1
    kept = (made[:, :1] - made[:, 1:2]) * (CROPS[:, :1] - CROPS[:, 1:2]) >= 0
    assert bool(kept[apart].all())
    assert 0.02 < float((made - CROPS).abs().mean()) < float((vivid(CROPS, seed=5) - CROPS).abs().mean())


def test_cutout_crops_are_themselves_in_places_and_of_exactly_one_color_elsewhere():
    for crop, made in zip(CROPS, cutout(CROPS, seed=6), strict=True):
        pixels = made.flatten(1).T
        colors, counts = pixels.unique(dim=0, return_counts=True)
        ground = (pixels == colors[counts.argmax()]).all(1)
        own = (pixels - crop.flatten(1).T).abs().amax(1) < 1e-6
        assert float(ground.float().mean()) > 0.05
        assert float(own.float().mean()) > 0.05
        assert float((ground | own).float().mean()) > 0.85, "edges are thin"


def test_gray_crops_have_no_color_or_one_for_all_of_the_crop():
    made = gray(CROPS, seed=0)
    colorless = (made.amax(1) == made.amin(1)).flatten(1).all(1)
    assert 0 < int(colorless.sum()) < len(made)
    bright = made.amax(1) > 0.2
    for crop, where in zip(made, bright, strict=True):
        tints = (crop / crop.amax(0, keepdim=True).clamp(min=1e-6))[:, where]
        assert float(tints.std(dim=1).max()) < 0.02


def test_mixed_and_painted_crops_have_color_as_sharp_as_brightness():
    before = chroma_detail(CROPS) / detail(CROPS)
    for made in (mixed(CROPS, seed=2), painted(CROPS, seed=2)):
        assert chroma_detail(made) / detail(made) > 1.5 * before


def test_typed_crops_are_paper_and_ink_with_the_edges_of_a_screen():
    made = typed(CROPS, seed=3)
    colors = [crop.flatten(1).T.unique(dim=0, return_counts=True)[1] for crop in made]
    assert float(torch.stack([counts.max() / counts.sum() for counts in colors]).mean()) > 0.25, "a ground of one color"
    assert min(map(len, colors)) > 10, "and what is smooth on it"
    steps, before = ((images.diff(dim=3).abs().amax(1) > 0.4).float().mean() for images in (made, CROPS))
    assert float(steps) > 2 * float(before)


def test_enlarged_crops_show_a_part_without_its_finest_detail():
    made = enlarged(CROPS, seed=3)
    assert detail(made) < 0.8 * detail(CROPS)
    corner, whole = made[..., :4, :4].mean((2, 3)), CROPS[..., :4, :4].mean((2, 3))
    torch.testing.assert_close(corner, whole, rtol=0, atol=0.1)


def test_unfocused_crops_are_soft_in_places_only():
    made = unfocused(CROPS, seed=4)
    change = (made - CROPS).abs().amax(1)
    assert detail(made) < 0.9 * detail(CROPS)
    assert float((change < 2 / 255).float().mean()) > 0.2
    torch.testing.assert_close(made.mean((2, 3)), CROPS.mean((2, 3)), rtol=0, atol=0.02)


@pytest.mark.parametrize("seed", [0, 4])
def test_rare_makes_each_crop_another_kind_in_turn(seed):
    made = rare(CROPS[:6], seed)
    for index in range(6):
        kind = [vivid, gray, vivid, mixed, enlarged, painted][(seed + index) % 6]
        expected = kind(CROPS[:6].roll(-index, 0), SEEDS_PER_CALL * seed + index)[0]
        torch.testing.assert_close(made[index], expected, rtol=0, atol=0)
        assert not torch.equal(made[index], CROPS[index])


def test_rare_never_draws_what_it_drew_for_another_seed(monkeypatch):
    drawn = []
    for kind in ("vivid", "gray", "mixed", "enlarged", "painted"):
        monkeypatch.setattr(f"training.rare.{kind}", lambda crops, seed: drawn.append(seed) or crops)
    for seed in range(20):
        rare(CROPS[:6], seed)
    assert len(set(drawn)) == len(drawn) == 120
