"""Labels without people."""

import numpy as np
import pytest
import torch
from known_photographs import NAMES, pixels, tensor

from training import pseudo_mos
from training.distorted import CLEAN, anywhere, center, distort
from training.distortions import LEVELS


def test_an_untouched_photograph_gets_the_best_label():
    photo = tensor(pixels("coffee"))
    assert pseudo_mos.fuse(pseudo_mos.measure(photo, photo), pseudo_mos.read_scale()) == pytest.approx(100)


def test_a_ruined_photograph_gets_a_label_near_zero():
    photo = tensor(pixels("coffee"))
    noise = torch.rand(photo.shape, generator=torch.Generator().manual_seed(0))
    assert pseudo_mos.fuse(pseudo_mos.measure(photo, noise), pseudo_mos.read_scale()) < 5


@pytest.mark.parametrize("family", ["gaussian-blur", "jpeg", "white-noise", "low-contrast"])
@pytest.mark.parametrize("name", NAMES[:2])
def test_labels_fall_with_the_level(family, name):
    samples, _ = distort(pixels(name, 192), name, {family: LEVELS})
    values = {member: np.array([one.members[member] for one in samples]) for member in pseudo_mos.MEMBERS}
    labels = pseudo_mos.fuse(values, pseudo_mos.read_scale()).tolist()
    assert labels == sorted(labels, reverse=True)


def test_a_fitted_scale_spreads_what_it_was_fitted_to_evenly():
    draw = np.random.default_rng(0)
    values = {member: draw.exponential(size=4000) for member in pseudo_mos.MEMBERS}
    values = {member: np.sort(column) for member, column in values.items()}
    labels = pseudo_mos.fuse(values, pseudo_mos.fit(values))
    assert np.allclose(labels, np.linspace(0, 100, 4000), atol=1)


def test_all_levels_of_a_family_share_their_chance():
    one, _ = distort(pixels("chelsea"), "a", {"color-cast": (3,)})
    both, stack = distort(pixels("chelsea"), "a", {"color-cast": (2, 3)})
    assert one[1].members == pytest.approx(both[2].members)
    shifts = stack[1:].astype(float).mean((1, 2)) - stack[0].astype(float).mean((0, 1))
    assert np.dot(*shifts) > 0.9 * np.linalg.norm(shifts[0]) * np.linalg.norm(shifts[1])


def test_the_first_sample_is_the_clean_one():
    samples, stack = distort(pixels("chelsea"), "a", {"jpeg": (1,)})
    assert (samples[0].family, samples[0].level) == (CLEAN, 0)
    assert np.array_equal(stack[0], pixels("chelsea"))


def test_crops_pass_over_flat_places(tmp_path):
    from PIL import Image

    photo = np.full((400, 400, 3), 128, np.uint8)
    photo[:, 300:] = pixels("coffee")[:100, :100].repeat(4, 0)[:400]
    Image.fromarray(photo).save(tmp_path / "photo.png")
    assert all(anywhere(tmp_path / "photo.png", 128, seed).std() > 1 for seed in range(4))


@pytest.mark.parametrize("shrunk", [False, True])
def test_a_photograph_smaller_than_the_square_is_refused_by_name(tmp_path, shrunk):
    from PIL import Image

    Image.new("RGB", (200, 90)).save(tmp_path / "photo.png")
    with pytest.raises(ValueError, match=r"photo\.png is smaller than 100 pixels"):
        anywhere(tmp_path / "photo.png", 100, 0, shrunk=shrunk)


def test_a_photograph_shrunk_to_a_thumbnail_shows_all_of_its_shorter_side(tmp_path):
    from PIL import Image

    photo = Image.fromarray(pixels("coffee", 300).repeat(2, 1))
    photo.save(tmp_path / "photo.png")
    thumbnail = center(tmp_path / "photo.png", 100, shrunk=True)
    whole = np.asarray(photo.crop((150, 0, 450, 300)).resize((100, 100), Image.Resampling.BICUBIC))
    assert np.abs(thumbnail[:, 5:95].astype(int) - whole[:, 5:95]).max() <= 1  # at the cut, its neighbors count
    assert not np.array_equal(thumbnail, center(tmp_path / "photo.png", 100))
