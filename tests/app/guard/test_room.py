"""What is counted as kept between two measurements of the store."""

import pytest

from app.errors import ProblemError
from app.guard.room import Room
from app.guard.settings import GuardSettings
from workers.state.store import Store


def test_what_was_measured_anew_is_not_given_back_a_second_time(settings):
    store = Store(settings.data_dir)
    store.open()
    room = Room(store, GuardSettings(max_store_bytes=150))
    measured = room.check(100)
    room._measured -= 31
    room.check(0)  # measures: nothing is kept
    room.give_back(100, measured)
    with pytest.raises(ProblemError, match="at most 150 bytes"):
        room.check(200)
