"""A study whose time is over is told to be stopped only if something is left of it."""

import multiprocessing
import time
from collections import deque

import pytest

from app.bench.choices import Choices, draft, settle
from app.bench.perform import Ended
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
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(30,), daemon=True)
    process.start()
    told = []
    pool = _Pool(tmp_path, "cpu", lambda *what: told.append(what), deque(), deadline=time.monotonic() - 1)
    slot = _Slot(process, ours, Work(attacked))
    pool._slots.append(slot)
    theirs.send(ended)
    pool._hear(slot)
    theirs.close()
    assert told == [(attacked, ended)]
    assert list(pool._waiting) == [Work(attacked)] * left
    assert not process.is_alive()
