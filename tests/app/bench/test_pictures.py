"""Pictures are cut and shrunk, never enlarged, and what cannot be used is listed."""

import pytest
import torch
from standin_metrics import photograph_like

from app.bench.items import BenchError
from app.bench.pictures import fit, prepare
from models.images import ImageLimits


def prepared(photos, size=None, most=None):
    kept = {}
    found = prepare(
        photos, out=photos / "out", size=size, most=most, seed=0,
        limits=ImageLimits(), check_size=lambda height, width: None, keep=kept.__setitem__,
    )  # fmt: skip
    return *found, kept


def test_the_middle_is_cut_and_shrunk_to_8_bits():
    image = torch.zeros(1, 3, 40, 100)
    image[..., 30:70] = 0.5  # a middle square
    fitted = fit(image, (20, 20))
    assert tuple(fitted.shape) == (1, 3, 20, 20)
    assert (fitted == 128 / 255).all()
    assert torch.equal(fit(photograph_like(1, 24, 30), (30, 24)), photograph_like(1, 24, 30))


def test_shrinking_sharp_edges_leaves_no_value_outside():
    image = torch.zeros(1, 3, 64, 64)
    image[..., 32:, :] = 1
    image[..., 10:20] = 1 - image[..., 10:20]
    fitted = fit(image, (24, 24))
    assert (fitted.min(), fitted.max()) == (0, 1)
    assert torch.equal(fitted, fitted.mul(255).round() / 255)


def test_pictures_are_never_enlarged():
    with pytest.raises(ValueError, match="smaller than 80x20"):
        fit(torch.zeros(1, 3, 64, 72), (80, 20))


def test_what_cannot_be_used_is_listed_with_the_reason(photos):
    (photos / "empty.jpg").write_bytes(b"")
    pictures, skipped, kept = prepared(photos, size=(64, 64))
    assert [picture.name for picture in pictures] == ["a.png", "b.png"]
    assert set(kept) == {"a.png", "b.png"}
    assert [(one.name, one.reason) for one in skipped] == [
        ("broken.png", "the file is not a PNG, JPEG or WebP image"),
        ("empty.jpg", "the file is empty"),
    ]


def test_a_limit_counts_usable_pictures_and_seeds_do_not_depend_on_company(photos):
    (photos / "0.png").write_bytes(b"no picture")
    all_of_them, _, _ = prepared(photos)
    first, skipped, _ = prepared(photos, most=1)
    assert first == all_of_them[:1]
    assert len(skipped) == 1
    assert all_of_them[0].seed != all_of_them[1].seed


def test_a_copy_is_no_further_picture_and_says_whose_it_is(photos):
    (photos / "copy.png").write_bytes((photos / "a.png").read_bytes())
    pictures, skipped, kept = prepared(photos)
    assert [picture.name for picture in pictures] == ["a.png", "b.png"]
    assert set(kept) == {"a.png", "b.png"}
    assert ("copy.png", "it is a copy of a.png") in [(one.name, one.reason) for one in skipped]


def test_a_folder_without_pictures_and_one_with_broken_ones_only_are_errors(tmp_path, photos):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="no folder or pattern with PNG, JPEG or WebP"):
        prepared(tmp_path / "empty")
    with pytest.raises(BenchError, match=r"none of 3 images can be used: a.png: it is 72x64"):
        prepared(photos, size=(100, 100))
