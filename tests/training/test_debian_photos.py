"""Photographs from packages of Debian: which are kept, and as what."""

import csv
import hashlib
import shutil
import subprocess
import tracemalloc

import numpy as np
import pytest
from known_photographs import NAMES, pixels
from PIL import Image

from models.checkpoints import CheckpointError
from training import debian_photos
from training.debian_photos import Known, Package


@pytest.fixture
def photographs():
    return [Image.fromarray(pixels(name)).resize((640, 480)) for name in NAMES[:3]]


@pytest.fixture
def package(tmp_path, monkeypatch, photographs):
    """A package with three photographs, and with what is no use beside them."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("packages are made and unpacked by dpkg-deb")
    root = tmp_path / "root"
    pictures, others = root / "usr/share/pictures", root / "usr/share/others"
    for folder in (root / "DEBIAN", pictures / "more", others):
        folder.mkdir(parents=True)
    control = "Package: some-pictures\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: pictures\n"
    (root / "DEBIAN/control").write_text(control)
    first, second, third = photographs
    first.save(pictures / "Old Tree@2x.JPG", quality=95)
    second.save(pictures / "more/Old Tree@2x.jpg", quality=95)
    first.resize((800, 600)).save(pictures / "more/the same larger.jpg", quality=90)
    first.resize((400, 300)).save(pictures / "small.jpg")
    first.resize((1640, 480)).save(pictures / "thin.jpg")
    Image.new("RGB", (600, 600), (20, 90, 30)).save(pictures / "empty.jpg")
    cut_out = third.resize((1620, 1350)).convert("RGBA")
    cut_out.paste((0, 0, 0, 0), (0, 0, 200, 200))
    cut_out.save(pictures / "cut-out.webp", lossless=True, quality=0, method=0)
    third.save(others / "screenshot.jpg")
    deb = tmp_path / "packages" / "some-pictures_1_all.deb"
    deb.parent.mkdir()
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, deb], check=True, capture_output=True)
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    found = Package("s/some/some-pictures_1_all.deb", digest, "CC0-1.0", r"/pictures/.*\.(jpe?g|webp)$")
    monkeypatch.setattr(debian_photos, "PACKAGES", (found,))
    return deb


def size(file):
    with Image.open(file) as picture:
        return picture.size


def collect(tmp_path, *more):
    out = tmp_path / "out"
    debian_photos.main(["--out", str(out), "--packages", str(tmp_path / "packages"), *more])
    return out


def test_pictures_that_are_small_thin_empty_elsewhere_or_there_already_are_left_out(package, tmp_path):
    out = collect(tmp_path)
    kept = {file.name: size(file) for file in out.glob("*.jpg")}
    assert kept == {
        "some-pictures-old-tree.jpg": (640, 480),
        "some-pictures-old-tree-2.jpg": (640, 480),
        "some-pictures-cut-out.jpg": (1296, 1080),
    }
    with (out / "index.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["file"]: (int(row["width"]), int(row["height"])) for row in rows} == kept
    assert {(row["source"], row["licence"]) for row in rows} == {("debian package some-pictures", "CC0-1.0")}


def test_what_is_cut_out_lies_on_white(package, tmp_path):
    with Image.open(collect(tmp_path) / "some-pictures-cut-out.jpg") as picture:
        assert np.asarray(picture)[:100, :100].min() >= 250


def test_photographs_that_are_reported_on_are_kept_apart(package, tmp_path, photographs):
    bench = tmp_path / "bench"
    bench.mkdir()
    photographs[1].resize((512, 384)).save(bench / "shown.png")
    names = [file.name for file in collect(tmp_path, "--apart", str(bench)).glob("*.jpg")]
    assert sorted(names) == ["some-pictures-cut-out.jpg", "some-pictures-old-tree.jpg"]


def test_another_package_under_its_name_is_refused(package, tmp_path):
    package.write_bytes(package.read_bytes() + b"more")
    with pytest.raises(CheckpointError, match="a different sha256"):
        collect(tmp_path)


def test_without_what_unpacks_packages_it_is_named(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="dpkg-deb is needed and not here"):
        collect(tmp_path)


def test_a_folder_with_something_in_it_is_refused(package, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(SystemExit):
        collect(tmp_path)
    assert "is not empty" in capsys.readouterr().err


def test_a_picture_is_known_again_smaller_and_compressed_but_not_mirrored(photographs):
    known = Known(iter(()))
    assert all(known.adds(picture) for picture in photographs)
    assert not known.adds(photographs[0].resize((160, 120)).quantize(32))
    assert known.adds(photographs[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT))


@pytest.mark.parametrize("package", debian_photos.PACKAGES, ids=lambda package: package.file)
def test_packages_are_named_with_version_and_a_whole_sum(package):
    assert len(bytes.fromhex(package.sha256)) == 32
    assert package.file.endswith("_all.deb")
    assert package.file.count("_") == 2


def test_a_package_is_not_held_in_memory(package, tmp_path):
    root, big = tmp_path / "root", tmp_path / "packages" / "big_1_all.deb"
    with (root / "usr/share/others/film.bin").open("wb") as film:
        film.truncate(300_000_000)
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "--build", root, big], check=True, capture_output=True)
    tracemalloc.start()
    try:
        assert list(debian_photos._pictures(big, debian_photos.PACKAGES[0]))
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
