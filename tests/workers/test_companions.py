"""Which waiting jobs go with one that was taken: caps, turns, and nobody who loses a place."""

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.process.companions import Candidate, candidate, choose

PIXELS = 100
ALIKE = ("diffpure", 10, 10)


def one(name, owner="", likeness=ALIKE, pixels=PIXELS):
    return Candidate(name, owner, likeness, pixels)


def names(candidates):
    return [candidate.entry for candidate in candidates]


def test_only_what_has_the_same_defense_and_size_goes_along():
    waiting = [one("a"), one("b", likeness=("jpeg", 10, 10)), one("c", likeness=("diffpure", 10, 11)), one("d")]
    assert names(choose(one("head"), waiting, 10**6)) == ["a", "d"]


def test_the_pixels_of_all_are_capped_and_not_their_number():
    waiting = [one(str(number)) for number in range(9)]
    assert len(choose(one("head"), waiting, 4 * PIXELS)) == 3
    assert len(choose(one("head", pixels=3 * PIXELS), waiting, 4 * PIXELS)) == 1
    assert choose(one("head", pixels=9 * PIXELS), waiting, 4 * PIXELS) == []
    assert choose(one("head"), waiting, 0) == []


def test_owners_take_turns_and_those_that_the_head_is_not_of_come_first():
    waiting = [*(one(f"a{n}", "a") for n in range(5)), *(one(f"b{n}", "b") for n in range(2)), one("c0", "c")]
    assert names(choose(one("head", "a"), waiting, 6 * PIXELS)) == ["b0", "c0", "a0", "b1", "a1"]


def test_other_workers_are_left_their_share():
    waiting = [one(str(number)) for number in range(7)]
    assert len(choose(one("head"), waiting, 10**6, workers=2)) == 3
    assert len(choose(one("head"), waiting, 10**6, workers=8)) == 0
    assert len(choose(one("head"), waiting, 10**6, workers=0)) == 7


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.uuids().map(str),
        st.sampled_from("abc"),
        st.sampled_from([ALIKE, ("jpeg", 1, 1)]),
        st.integers(1, 300),
    ),
    max_size=20,
    unique_by=lambda candidate: candidate.entry,
)


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(waiting=CANDIDATES, room=st.integers(0, 2000), workers=st.integers(0, 4))
def test_whatever_waits_the_cap_holds_and_nobody_overtakes_another_of_the_same_owner(waiting, room, workers):
    head = one("head", "a")
    chosen = choose(head, waiting, room, workers)
    assert len(set(names(chosen))) == len(chosen)
    assert all(one.likeness == ALIKE and one in waiting for one in chosen)
    assert not chosen or head.pixels + sum(one.pixels for one in chosen) <= room
    for owner in "abc":
        mine = [one for one in waiting if one.owner == owner and one.likeness == ALIKE]
        taken = [one for one in chosen if one.owner == owner]
        assert taken == mine[: len(taken)]


def test_a_candidate_is_read_from_a_record_as_it_is_stored():
    fixed = {
        "order": {"defense": {"name": "diffpure", "timestep": 30}, "samples": 3},
        "image": {"width": 20, "height": 10},
        "origin": {"owner": "k1"},
    }
    assert candidate("e", fixed) == Candidate("e", "k1", ('{"name": "diffpure", "timestep": 30}', 20, 10), 600)
    del fixed["origin"]
    assert candidate("e", fixed).owner == ""
