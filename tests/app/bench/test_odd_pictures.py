"""Pictures with odd names and of odd shapes are shown, or listed; none of them ends a study."""

import os
import sys

import pytest
from standin_metrics import photograph_like

from app.bench.choices import Choices, draft, settle
from app.bench.folder import Folder
from app.bench.perform import perform
from app.bench.units import units_of
from models.images import ImageFormat, encode


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def settled(folder, attacks="fgsm"):
    choices = Choices(folder, folder.parent / "out", attacks=attacks, defenses="flip", metrics="standin")
    return settle(choices, draft(choices, "1")), Folder(choices.out)


def sheets(folder):
    gallery = pytest.importorskip("app.bench.report.gallery", exc_type=ImportError)
    manifest, kept = settled(folder)
    for unit in units_of(manifest.parameters):
        list(perform(unit, kept, "cpu"))
    return dict(gallery.sheets(manifest.parameters, kept))


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize("name", ["a$_$.png", "写真.png"])
def test_a_name_that_looks_like_a_formula_or_that_the_font_lacks_is_told_without_a_word(folder, name):
    (folder / name).write_bytes(encode(photograph_like(1, 32, 40), ImageFormat.PNG))
    [(title, sheet)] = sheets(folder).items()
    assert title == f"{name}: fgsm on standin"
    assert sheet.is_file()


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize(("height", "width"), [(2560, 16), (16, 2560)])
def test_pictures_far_from_square_have_a_sheet_that_can_be_drawn(folder, height, width):
    images = pytest.importorskip("PIL.Image")
    (folder / "thin.png").write_bytes(encode(photograph_like(1, height, width), ImageFormat.PNG))
    [sheet] = sheets(folder).values()
    with images.open(sheet) as drawn:
        assert max(drawn.size) < 2000, "as of other pictures"
        assert drawn.convert("L").crop((0, 90, *drawn.size)).getextrema()[0] < 128, "something is on it"


@pytest.mark.usefixtures("standin")
def test_purified_pictures_are_kept_of_the_first_attack_on_the_first_three(folder):
    for number in range(4):
        (folder / f"{number}.png").write_bytes(encode(photograph_like(1, 32, 40, seed=number), ImageFormat.PNG))
    manifest, kept = settled(folder, "fgsm,ifgsm")
    for unit in units_of(manifest.parameters):
        list(perform(unit, kept, "cpu"))
    found = {file.relative_to(kept.root / "purified").as_posix() for file in kept.root.glob("purified/**/flip.png")}
    assert found == {f"standin/fgsm/{number}.png/flip.png" for number in range(3)}


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
@pytest.mark.usefixtures("standin")
def test_a_name_that_is_not_utf_8_is_listed_and_ends_no_study(folder):
    for name in (b"caf\xe9.png", b"good.png"):
        (folder / os.fsdecode(name)).write_bytes(encode(photograph_like(1, 32, 40), ImageFormat.PNG))
    (folder / os.fsdecode(b"r\xe9sum\xe9.tif")).write_bytes(b"no picture")
    _, kept = settled(folder)
    manifest = kept.manifest()
    assert [picture.name for picture in manifest.parameters.pictures] == ["good.png"]
    skipped = {one.name: one.reason for one in manifest.skipped if one.kind == "image"}
    assert set(skipped) == {r"caf\udce9.png", r"r\udce9sum\udce9.tif"}
    assert "its name is not UTF-8" in skipped[r"caf\udce9.png"]
