"""What is counted as kept between two measurements of the store."""

import contextlib

import pytest
from problems import problem

from app.errors import ProblemError
from app.guard.room import Room
from app.guard.settings import GuardSettings
from app.readiness import look
from workers.state.store import Store


def test_exactly_what_has_to_stay_free_is_enough_for_the_door_and_for_readiness(open_client, monkeypatch):
    services = open_client(min_free_bytes=1000, ready_workers=0).app.state.services
    for free, is_enough in ((1100, True), (1099, False)):
        monkeypatch.setattr(services.store, "free_bytes", lambda free=free: free)
        refused = contextlib.nullcontext() if is_enough else pytest.raises(ProblemError, match="1000 bytes of the disk")
        with refused:
            services.room.check(100)
    for free, is_enough in ((1000, True), (999, False)):
        monkeypatch.setattr(services.store, "free_bytes", lambda free=free: free)
        assert {check.name: check.ok for check in look(services, draining=False)}["store"] is is_enough


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


def test_a_body_that_does_not_say_how_long_it_is_counts_as_soon_as_it_is_there(open_client, submit, photo_png):
    client = open_client(max_store_bytes=2 * len(photo_png))
    form = {"files": {"image": photo_png}, "data": {"defense": "jpeg", "metrics": ""}}
    body = client.build_request("POST", "/purify", **form)
    whole = body.read()

    def in_pieces():
        return client.post("/purify", content=iter([whole]), headers={"Content-Type": body.headers["Content-Type"]})

    problem(client.post("/purify", files={"image": b"x" * len(photo_png)}), 415, "unsupported-image")
    assert in_pieces().status_code == 202
    assert in_pieces().status_code == 202
    problem(in_pieces(), 507, "store-full")
    problem(submit(client), 507, "store-full")
