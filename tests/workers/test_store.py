import errno
import hashlib
import os
import time

import pytest

from workers.state.store import Store, StoreFullError


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.open()
    return store


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_what_is_put_can_be_read_under_its_owner_and_role(store):
    digest = store.put("job1", "input", b"photo", durable=True)
    assert digest == hashlib.sha256(b"photo").hexdigest()
    assert store.read("job1", "input") == b"photo"


def test_equal_bytes_are_on_the_disk_once_and_live_as_long_as_one_owner(store, tmp_path):
    store.put("job1", "input", b"photo")
    store.put("job2", "input", b"photo")
    assert store.path("job1", "input").stat().st_ino == store.path("job2", "input").stat().st_ino
    store.erase("job1")
    assert store.read("job2", "input") == b"photo"
    assert store.usage() == (len(b"photo"), 1), "it still counts"
    store.erase("job2")
    assert files(tmp_path) == []


def test_more_may_hold_the_same_bytes_than_a_file_can_have_names(store, tmp_path, monkeypatch):
    real = os.link

    def link(source, target):
        if source.stat().st_nlink == 3:
            raise OSError(errno.EMLINK, "Too many links")
        real(source, target)

    monkeypatch.setattr("os.link", link)
    jobs = [f"job{number}" for number in range(7)]
    for job in jobs:
        digest = store.put(job, "input", b"photo")
    assert {store.read(job, "input") for job in jobs} == {b"photo"}
    assert len({store.path(job, "input").stat().st_ino for job in jobs}) == 4, (
        "two owners each, beside the name of the blob"
    )
    store.put("first", "output", b"bytes")
    store.put("second", "output", b"bytes")
    assert not store.share("first", "output", "third", digest)
    assert not store.path("third", "output").parent.exists()
    for job in [*jobs, "first", "second"]:
        store.erase(job)
    assert files(tmp_path) == []


def test_bytes_that_are_swept_while_they_are_written_are_held_all_the_same(store, monkeypatch):
    monkeypatch.setattr(Store, "_link", lambda *_: False)
    store.put("job1", "input", b"photo")
    assert store.read("job1", "input") == b"photo"


def test_a_store_without_room_says_so_whatever_is_to_be_kept(store, monkeypatch):
    digest = store.put("first", "output", b"bytes")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.link", full)
    monkeypatch.setattr("os.open", full)
    for keep in (
        lambda: store.put("job1", "input", b"photo"),
        lambda: store.share("first", "output", "second", digest),
        lambda: store.append("job1", "manifest", b"line\n", create=True),
    ):
        with pytest.raises(StoreFullError):
            keep()


def test_a_store_without_room_for_another_folder_says_so_too(store, monkeypatch):
    digest = store.put("first", "output", b"bytes")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.mkdir", full)
    with pytest.raises(StoreFullError):
        store.share("first", "output", "second", digest)


def test_what_is_kept_is_for_its_owner_only_to_read(store, tmp_path):
    store.put("job1", "input", b"photo", durable=True)
    store.append("job1", "manifest", b"line\n", create=True)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in [*tmp_path.iterdir(), *written]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_erasing_an_owner_leaves_nothing_of_it(store, tmp_path):
    store.put("job1", "input", b"photo")
    store.put("job1", "output", b"purified")
    store.erase("job1")
    store.erase("job1")
    assert files(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        store.read("job1", "input")


def test_a_rerun_may_write_its_output_again_even_if_it_differs(store):
    store.put("job1", "output", b"first")
    store.put("job1", "output", b"second")
    assert store.read("job1", "output") == b"second"


def test_a_failed_write_leaves_no_temporary_file(store, tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        store.put("job1", "input", b"photo")
    assert files(tmp_path) == []


@pytest.mark.parametrize("owner", ["../../etc", "", "a/b", "x" * 65, "job\n1"])
def test_a_name_that_could_leave_the_folder_is_refused(store, owner):
    with pytest.raises(ValueError, match="not a name"):
        store.path(owner, "input")


def test_pruning_removes_old_leftovers_and_nothing_that_is_owned(store, tmp_path):
    store.put("job1", "input", b"photo")
    store.put("job2", "input", b"orphan")
    for name in ("input",):
        store.path("job2", name).unlink()
    (tmp_path / "incoming" / "half").write_bytes(b"half-written")
    store.prune()
    assert len(files(tmp_path)) == 4, "young files are left alone"
    old = time.time() - 7200
    for path in (tmp_path / "blobs").rglob("*"):
        os.utime(path, (old, old))
    os.utime(tmp_path / "incoming" / "half", (old, old))
    store.prune()
    assert len(files(tmp_path)) == 2
    assert store.read("job1", "input") == b"photo"


def test_a_store_that_cannot_be_written_says_so(store, tmp_path):
    assert store.is_writable()
    (tmp_path / "incoming").rmdir()
    assert not store.is_writable()


def test_erasing_and_listing_survive_somebody_else_who_erases_too(store):
    from concurrent.futures import ThreadPoolExecutor

    for round_ in range(60):
        for number in range(4):
            store.put(f"job{number}", "input", f"{round_}".encode())
            store.put(f"job{number}", "output", f"{round_}{number}".encode())
        with ThreadPoolExecutor(4) as pool:
            work = [pool.submit(store.erase, f"job{number % 4}") for number in range(12)]
            work.append(pool.submit(lambda: list(store.owners())))
            for one in work:
                one.result()
    assert list(store.owners()) == []


def test_a_line_is_only_added_to_a_file_that_is_there_unless_it_is_to_be_made(store, tmp_path):
    assert not store.append("job1", "manifest", b"one\n")
    assert files(tmp_path) == []
    assert store.append("job1", "manifest", b"one\n", create=True)
    assert store.append("job1", "manifest", b"two\n")
    assert store.read("job1", "manifest") == b"one\ntwo\n"
    store.drop("job1", "manifest")
    store.drop("job1", "manifest")
    assert not store.append("job1", "manifest", b"three\n")


def test_what_is_shared_is_one_file_that_outlives_its_first_owner(store):
    digest = store.put("first", "output", b"bytes")
    assert store.share("first", "output", "second", digest)
    assert store.path("first", "output").samefile(store.path("second", "output"))
    store.erase("first")
    assert store.read("second", "output") == b"bytes"


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"other")])
def test_what_is_gone_or_damaged_is_not_shared_and_leaves_nothing(store, damage):
    digest = store.put("first", "output", b"bytes")
    damage(store.path("first", "output"))
    assert not store.share("first", "output", "second", digest)
    assert not store.path("second", "output").parent.exists()
