"""Files that are written whole or not at all."""

import errno
from pathlib import Path

import pytest

from models.whole_files import write_whole


def test_a_file_is_replaced_and_folders_are_made(tmp_path):
    file = tmp_path / "a" / "b" / "file"
    for data in (b"first", b"second"):
        write_whole(file, data)
    assert [(path.name, path.read_bytes()) for path in file.parent.iterdir()] == [("file", b"second")]


def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path):
    file = tmp_path / ("x" * 251 + ".png")
    write_whole(file, b"whole")
    assert file.read_bytes() == b"whole"


def test_a_full_disk_leaves_what_was_there_and_nothing_half_written(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write_whole(file, b"first")
    write = Path.write_bytes

    def full(path, data):
        write(path, data[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="file cannot be written: No space left"):
        write_whole(file, b"second")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"first")]


def test_two_who_write_the_same_file_at_once_are_not_in_each_others_way(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write = Path.write_bytes

    def slow(path, data):
        write(path, data[:3])
        monkeypatch.setattr(Path, "write_bytes", write)
        write_whole(file, b"of the other")
        assert file.read_bytes() == b"of the other"
        write(path, data)

    monkeypatch.setattr(Path, "write_bytes", slow)
    write_whole(file, b"of the first")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"of the first")]
