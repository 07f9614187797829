"""PIQE: held to pypiqe and pyiqa, and to what it promises where they differ or have no answer."""

import contextlib
import io
import warnings

import numpy as np
import pypiqe
import pytest
import torch
from known_photographs import EVERY_PHOTOGRAPH, WHOLE_AND_ODD, load, pixels, tensor

from models.iqa import natural_scenes
from models.metrics import find_metric
from models.metrics.piqe import Piqe
from training.distortions import FAMILIES

PIQE = Piqe()


def pypiqes(images):
    """The package's score of the same luma: its own for colors rounds otherwise, by OpenCV's integers."""
    [plane] = natural_scenes.luma(images)
    return pypiqe.piqe(plane.byte().numpy())[0]


def distorted(name, family, level):
    return tensor(FAMILIES[family](pixels(name), level, np.random.default_rng(1)))


@pytest.fixture(scope="module")
def pyiqas():
    pyiqa = pytest.importorskip("pyiqa")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return pyiqa.create_metric("piqe", device="cpu")


@EVERY_PHOTOGRAPH
@WHOLE_AND_ODD
def test_it_is_pypiqes_within_a_ten_thousandth(photograph, cut):
    images = load(photograph, cut)
    assert PIQE(images).item() == pytest.approx(pypiqes(images), abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_pypiqes_on_distorted_photographs_too(family):
    for name, level in (("chelsea", 1), ("coffee", 3), ("astronaut", 5)):
        images = distorted(name, family, level)
        assert PIQE(images).item() == pytest.approx(pypiqes(images), abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_pyiqas_on_gray_images_of_whole_blocks_up_to_one_block(family, pyiqas):
    """In float32 a block with values at a threshold may fall on the other side; all others agree."""
    gray = natural_scenes.luma(distorted("coffee", family, 3))[:, None].repeat(1, 3, 1, 1) / 255
    gray[..., 0, 0] = 1  # else luma is scaled, and values halfway between two levels go either way too
    assert PIQE(gray).item() == pytest.approx(pyiqas(gray).item(), abs=100 / 256)


@EVERY_PHOTOGRAPH
def test_with_colors_it_is_near_pyiqas_which_rounds_once_where_luma_is_of_8_bits_here(photograph, pyiqas):
    images = load(photograph)
    whole = images[..., : images.shape[2] // 16 * 16, : images.shape[3] // 16 * 16]
    assert PIQE(whole).item() == pytest.approx(pyiqas(whole).item(), abs=1.1)


@pytest.mark.parametrize(
    ("photograph", "score"),
    [("chelsea", 34.01698), ("coffee", 27.82720), ("astronaut", 33.75898), ("rocket", 38.84719)],
)
def test_scores_of_known_photographs_stay(photograph, score):
    assert PIQE(load(photograph)).item() == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("family", ["gaussian-blur", "white-noise", "jpeg", "upscaling"])
def test_distortions_count_against_a_photograph(family):
    clean, mild, strong = (PIQE(images).item() for images in (
        tensor(pixels("chelsea")), distorted("chelsea", family, 3), distorted("chelsea", family, 5),
    ))  # fmt: skip
    assert clean < strong
    assert mild < strong


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_image_of_a_single_color_scores_100(value):
    assert PIQE(torch.full((1, 3, 40, 50), value)).item() == 100


def test_an_image_in_which_nothing_is_active_scores_100():
    ramp = torch.linspace(0.2, 0.9, 512).expand(1, 3, 200, 512)
    assert PIQE(ramp).item() == 100


def test_incomplete_blocks_are_filled_up_by_mirroring_with_the_edge_repeated():
    images = load("chelsea", (4, 3))  # 296x448: half a block is missing
    filled = torch.cat([images, images[..., -8:, :].flip(2)], dim=2)
    assert filled.shape[2:] == (304, 448)
    assert torch.equal(PIQE(images), PIQE(filled))
    sideways = PIQE(images.mT.contiguous())
    assert torch.equal(sideways, PIQE(filled.mT.contiguous()))


def test_brightness_is_scaled_to_the_brightest_pixel():
    gray = (torch.randint(0, 52, (1, 1, 64, 64), generator=torch.Generator().manual_seed(0)) * 5 / 255).expand(
        1, 3, 64, 64
    )
    brightest = gray.clone()
    brightest[..., 0, 0] = 1
    dark = (brightest * 51).round() / 255
    assert PIQE(dark).item() == pytest.approx(PIQE(brightest).item(), abs=1e-4)


def test_the_smallest_image_is_one_block():
    photo = load("chelsea")
    assert torch.isfinite(PIQE(photo[..., 100:116, 100:116])).all()
    with pytest.raises(ValueError, match="at least 16 pixels"):
        PIQE(photo[..., :15, :200])


def test_a_large_image_is_scored_in_strips_as_it_would_be_whole(monkeypatch):
    images = load("coffee", (7, 13))
    whole = PIQE(images)
    monkeypatch.setattr(natural_scenes, "STRIP", 1)
    assert torch.allclose(PIQE(images), whole, rtol=1e-6, atol=0)


def test_the_bare_name_is_ours_and_pyiqas_stays_reachable():
    assert find_metric("piqe").card.name == "piqe"
    assert find_metric("pyiqa:piqe").card.name == "pyiqa:piqe"
    card = find_metric("piqe").card
    assert (card.license, card.human_trained, card.weights) == ("Apache-2.0", False, ())
    assert find_metric("piqe").availability().available
