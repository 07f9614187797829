"""The folder of added weights, with several processes at it."""

import os
import threading
import time

import pytest
import torch

from models import checkpoints
from models.checkpoints import CheckpointError


@pytest.fixture(autouse=True)
def own_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path))


@pytest.fixture
def add(tmp_path):
    source = tmp_path / "source.pth"
    source.write_bytes(b"source")
    return lambda value: checkpoints.add("mine", "metric", source, {"a": torch.full((3,), value)})


def left():
    return sorted(path.name for path in checkpoints.home().iterdir())


def test_another_process_that_adds_the_same_name_meanwhile_does_not_break_it(add, monkeypatch):
    add(1.0)
    rename, others = checkpoints.Path.rename, []

    def interrupted(path, target):
        if path.name.startswith(".mine.") and not path.name.endswith(".old") and not others:
            others.append(path)
            (target / "of another").mkdir(parents=True)
        return rename(path, target)

    monkeypatch.setattr(checkpoints.Path, "rename", interrupted)
    add(2.0)
    assert others
    assert checkpoints.load("mine", "metric")[0]["a"].tolist() == [2.0] * 3
    assert left() == ["mine"]


def test_what_killed_processes_left_half_written_is_removed_when_it_is_a_day_old(add):
    add(1.0)
    old, young = (checkpoints.home() / f".mine.{name}" for name in ("old", "young"))
    for leftover in (old, young):
        leftover.mkdir()
        (leftover / "model.safetensors").write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    add(2.0)
    assert left() == [".mine.young", "mine"]


def test_the_older_weights_stay_if_the_newer_cannot_be_put_there(add, monkeypatch):
    add(1.0)
    rename = checkpoints.Path.rename

    def refused(path, target):
        if path.name.startswith(".mine.") and not path.name.endswith(".old"):
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(checkpoints.Path, "rename", refused)
    with pytest.raises(PermissionError):
        add(2.0)
    assert checkpoints.load("mine", "metric")[0]["a"].tolist() == [1.0] * 3
    assert left() == ["mine"]


def test_weights_that_are_replaced_while_they_are_read_are_read_again(add, monkeypatch):
    add(1.0)
    digest, replaced = checkpoints.digest, []

    def slow(file):
        if file.parent.name == "mine" and not replaced:
            replaced.append(file)
            add(2.0)
        return digest(file)

    monkeypatch.setattr(checkpoints, "digest", slow)
    state, facts = checkpoints.load("mine", "metric")
    assert state["a"].tolist() == [2.0] * 3
    assert facts == checkpoints.find("mine", "metric")


def test_weights_that_were_changed_are_still_refused_at_once(add):
    add(1.0)
    file = checkpoints.folder("mine") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    found = []

    def load():
        with pytest.raises(CheckpointError, match="has changed since it was added"):
            checkpoints.load("mine", "metric")
        found.append(True)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(60)
    assert found


def test_added_weights_may_be_read_by_whoever_may_read_the_facts_about_them(add):
    was = os.umask(0o022)
    try:
        add(1.0)
    finally:
        os.umask(was)
    modes = [
        (checkpoints.home() / "mine" / name).stat().st_mode & 0o777 for name in (checkpoints.FACTS, "model.safetensors")
    ]
    assert modes == [0o644, 0o644]


def test_weights_that_this_user_may_not_read_are_unavailable_and_the_cure_is_told(add, monkeypatch):
    facts = add(1.0)
    monkeypatch.setattr(checkpoints.os, "access", lambda *_: False)  # tests may run as root, who reads everything
    state = checkpoints.availability("mine", "metric")
    assert not state.available
    assert "is not readable by" in state.explanation
    assert "chmod a+r" in state.explanation
    with pytest.raises(CheckpointError, match="chmod a"):
        checkpoints.verify(facts)


def test_weights_of_another_kind_are_told_as_such_and_not_as_missing(add):
    add(1.0)
    told = checkpoints.availability("mine", "restorer").explanation
    assert "are for a metric, not for a restorer" in told
    assert "weights add" not in told
