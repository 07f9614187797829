"""What goes wrong with photographs, made on purpose."""

import numpy as np
import pytest
from known_photographs import NAMES, pixels

from training.distorted import distort
from training.distortions import FAMILIES, LEVELS

EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)


def distorted(family, photo, level, seed=0):
    return FAMILIES[family](photo, level, np.random.default_rng(seed))


def error(image, photo):
    return float(np.square(image.astype(float) - photo).mean())


def test_there_are_at_least_twelve_families_and_some_are_mixtures():
    assert len([family for family in FAMILIES if "-and-" not in family]) >= 12
    assert any("-and-" in family for family in FAMILIES)


@EVERY_FAMILY
@pytest.mark.parametrize("shape", [(64, 64), (65, 97), (200, 48)])
def test_a_distortion_leaves_size_and_kind_and_the_original_alone(family, shape):
    photo = pixels("coffee")[: shape[0], : shape[1]]
    before = photo.copy()
    for level in LEVELS:
        image = distorted(family, photo, level)
        assert image.shape == photo.shape
        assert image.dtype == np.uint8
        assert not np.array_equal(image, photo)
    assert np.array_equal(photo, before)


@EVERY_FAMILY
def test_the_same_seed_gives_the_same_image(family):
    photo = pixels("chelsea", 96)
    assert np.array_equal(distorted(family, photo, 3, 7), distorted(family, photo, 3, 7))


@EVERY_FAMILY
def test_each_level_is_further_from_the_photograph_than_the_one_before(family):
    photos = [pixels(name, 192) for name in NAMES]
    totals = [sum(error(distorted(family, photo, level), photo) for photo in photos) for level in LEVELS]
    assert totals == sorted(totals)
    assert totals[0] < 0.8 * totals[-1]


def test_all_levels_of_a_family_share_what_was_drawn_and_another_photograph_has_its_own():
    def directions(name):
        _, (clean, *shifted) = distort(np.full((192, 192, 3), 128, np.uint8), name, {"color-cast": [2, 5]})
        moves = [(image[0, 0] - clean[0, 0].astype(float)) for image in shifted]
        return [move / np.linalg.norm(move) for move in moves]

    (slight, strong), (other, _) = directions("1/a.jpg"), directions("2/b.jpg")
    assert slight @ strong > 0.99
    assert slight @ other < 0.99
