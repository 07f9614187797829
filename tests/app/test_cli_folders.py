"""What a folder of pictures holds for a command, and what of it cannot be read."""

import errno
import os
import sys
from pathlib import Path

import pytest

from app.command.files import ELSEWHERE, NOWHERE, FilesError, find_images, plan_outputs


def test_a_link_that_leads_nowhere_is_told_of(folder):
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "notes").symlink_to("nowhere")
    (folder / "there.jpg").symlink_to("a.png")
    images, others = find_images([str(folder)], folder / "out")
    assert [str(image.name) for image in images] == ["a.png", "below/b.jpg"]
    assert [(str(image.name), why) for image, why in others] == [("gone.jpg", NOWHERE)]


def test_a_link_to_a_folder_elsewhere_is_told_of_unless_that_is_named_too_or_holds_the_results(
    folder, tmp_path, photo_png
):
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "c.png").write_bytes(photo_png)
    (folder / "linked").symlink_to(tmp_path / "elsewhere" / "deep")
    (folder / "again").symlink_to("below")
    images, others = find_images([str(folder)])
    assert [str(image.name) for image in images] == ["a.png", "below/b.jpg"]
    assert [(str(image.name), why) for image, why in others] == [("linked", ELSEWHERE)]
    for too in (folder / "linked", tmp_path / "elsewhere"):
        images, others = find_images([str(folder), str(too)])
        assert (len(images), others) == (3, [])
    assert find_images([str(folder)], folder / "linked")[1] == []


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Python no longer minds before something is written")
def test_results_cannot_go_where_links_lead_in_a_circle(folder, tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    images, _ = find_images([str(folder / "a.png")])
    with pytest.raises(FilesError, match="loop"):
        plan_outputs(images, tmp_path / "circle", ".png")


def test_a_folder_is_walked_once(folder, monkeypatch):
    walked, walk = [], os.walk
    monkeypatch.setattr(os, "walk", lambda at, **how: walked.append(at) or walk(at, **how))
    images, _ = find_images([str(folder), str(folder / "a.png")])
    assert [str(image.name) for image in images] == ["a.png", "below/b.jpg"]
    assert walked == [folder]


@pytest.fixture
def shut(folder, monkeypatch):
    """The folder `photos`, with one below that cannot be listed and one whose files cannot be looked at."""
    for name in ("unlisted", "unentered"):
        (folder / name).mkdir()
        (folder / name / "c.png").write_bytes(b"")
    scandir, stat = os.scandir, Path.stat

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", lambda at: refuse(at) if Path(at).name == "unlisted" else scandir(at))
    monkeypatch.setattr(
        Path, "stat", lambda path, **how: refuse(path) if path.parent.name == "unentered" else stat(path, **how)
    )
    return folder


def test_a_folder_that_cannot_be_read_is_told_of_and_what_cannot_be_looked_at_is_a_file_to_try(shut):
    images, others = find_images([str(shut)])
    assert [str(image.name) for image in images] == ["a.png", "below/b.jpg", "unentered/c.png"]
    assert [(str(image.name), why) for image, why in others] == [
        ("unlisted", "the folder cannot be read: Permission denied")
    ]
    with pytest.raises(FilesError, match=r"unlisted: no such file, .*: the folder cannot be read: Permission"):
        find_images([str(shut / "unlisted")])
    named, _ = find_images([str(shut / "unentered" / "c.png")])
    assert [image.path.name for image in named] == ["c.png"]


def test_a_folder_of_results_that_cannot_be_looked_at_is_told_of(shut):
    images, _ = find_images([str(shut / "a.png")])
    with pytest.raises(FilesError, match="unentered/out: Permission denied"):
        plan_outputs(images, shut / "unentered" / "out", ".png")
