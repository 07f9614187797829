"""A study whose time is over is told to be stopped only if something is left of it."""

import multiprocessing
import time
from collections import deque

import pytest

from app.bench.choices import Choices, draft, settle
from app.bench.folder import Folder
from app.bench.perform import Ended, perform
from app.bench.pool import Work, _Pool, _Slot
from app.bench.units import ATTACK, units_of


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize(
    ("ended", "left"),
    [(Ended("flip", 1, failed=False), 0), (Ended("none", 1, failed=False), 1), (Ended(ATTACK, 1, failed=False), 1),
     (Ended(ATTACK, 1, failed=True), 0)],
)  # fmt: skip
def test_what_was_done_when_time_was_over_is_not_waiting(photos, tmp_path, ended, left):
    choices = Choices(photos, tmp_path / "out", attacks="fgsm", defenses="flip", metrics="standin", limit=1)
    _, attacked = units_of(settle(choices, draft(choices, "1")).parameters)
    assert waiting_after(ended, attacked, choices.out) == [Work(attacked)] * left


@pytest.mark.usefixtures("standin")
def test_what_an_earlier_command_did_is_not_waiting_either(photos, tmp_path):
    choices = Choices(photos, tmp_path / "out", attacks="fgsm", defenses="flip", metrics="standin", limit=1)
    clean, _ = units_of(settle(choices, draft(choices, "1")).parameters)
    *_, (step, done) = ((one.step, one) for one in perform(clean, Folder(choices.out), "cpu", {"none"}))
    assert (step, done.failed) == ("flip", False)
    assert waiting_after(Ended("none", 1, failed=False), clean, choices.out) == []


def waiting_after(ended, unit, root):
    """What is left once a process of a study whose time is over says that a step of the unit ended."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(30,), daemon=True)
    process.start()
    told = []
    pool = _Pool(root, "cpu", lambda *what: told.append(what), deque(), deadline=time.monotonic() - 1)
    slot = _Slot(process, ours, Work(unit))
    pool._slots.append(slot)
    theirs.send(ended)
    pool._hear(slot)
    theirs.close()
    assert told == [(unit, ended)]
    assert not process.is_alive()
    return list(pool._waiting)
