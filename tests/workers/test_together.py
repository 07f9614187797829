"""The costly part of orders, computed as one batch: room, memory that runs out, and items that cannot be batched."""

import itertools
from types import SimpleNamespace
from typing import ClassVar, Literal

import pytest
import torch

from models.defense import Cost, Defense, PurificationError
from models.defenses import parse_defense
from workers import together
from workers.jobs import execute, execute_together
from workers.orders import DefenseOrder, Kind
from workers.together import Room, Task, compute

PIXELS = 32 * 32


class Recorder(Defense):
    """Remembers how many images it was given at once, and runs out of memory above a limit, as CUDA does."""

    name: Literal["recorder"] = "recorder"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    cost: ClassVar[Cost] = Cost.NETWORK
    batches: ClassVar[list[int]] = []
    most: ClassVar[int] = 10**9

    def purify(self, images, noise):
        self.batches.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images + 0.01 * noise.normal_like(images)


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setattr(Recorder, "batches", [])
    return Recorder()


def tasks(count, *, seeds=1, metrics=()):
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return [Task(image, tuple(range(100 * i, 100 * i + seeds)), metrics) for i in range(count)]


def test_as_many_images_as_there_is_room_for_are_computed_at_once(recorder):
    compute(recorder, tasks(7), Room(3 * PIXELS + 5))
    assert recorder.batches == [3, 3, 1]


@pytest.mark.parametrize("pixels", [0, 1, PIXELS])
def test_an_image_larger_than_the_room_is_computed_alone(recorder, pixels):
    compute(recorder, tasks(3), Room(pixels))
    assert recorder.batches == [1, 1, 1]


def test_the_samples_of_an_order_share_a_batch_where_there_is_room(recorder):
    [outcome] = compute(recorder, tasks(1, seeds=5, metrics=("brisque",)), Room(4 * PIXELS))
    assert recorder.batches == [4, 1]
    assert len(outcome.defended["brisque"]) == 5
    assert torch.equal(outcome.purified, recorder(tasks(1)[0].image, 4)), "the last sample is the image that is sent"


def test_memory_that_runs_out_halves_the_batch_and_is_remembered_for_that_defense(recorder, monkeypatch):
    monkeypatch.setattr(Recorder, "most", 3)
    room, told = Room(8 * PIXELS), []
    outcomes = compute(recorder, tasks(8, metrics=("brisque",)), room, told.append)
    assert max(told) == told[-1] < 1, "what was in vain is not counted"
    assert recorder.batches == [8, 4, 2, 2, 2, 2]
    for task, outcome in zip(tasks(8), outcomes, strict=True):
        assert torch.equal(outcome.purified, recorder(task.image, task.seeds[0]))
        assert len(outcome.defended["brisque"]) == 1
    recorder.batches.clear()
    compute(recorder, tasks(4), room)
    assert recorder.batches == [2, 2]
    assert room.pixels(recorder) == 2 * PIXELS
    assert room.pixels(parse_defense("fcn")) == 8 * PIXELS


def test_one_image_that_is_too_much_for_the_memory_is_its_own_failure(recorder, monkeypatch):
    monkeypatch.setattr(Recorder, "most", 0)
    with pytest.raises(torch.OutOfMemoryError):
        compute(recorder, tasks(4), Room(4 * PIXELS))


def test_images_of_several_sizes_are_no_batch(recorder):
    other = Task(torch.zeros(1, 3, 32, 33), (1,))
    with pytest.raises(ValueError, match="several sizes"):
        compute(recorder, [*tasks(1), other], Room(PIXELS))


def test_progress_rises_and_may_end_the_work(recorder):
    seen = []
    compute(recorder, tasks(5, seeds=2, metrics=("brisque",)), Room(4 * PIXELS), seen.append)
    assert seen == sorted(seen)
    assert 0.5 < seen[-1] < 1

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(recorder, tasks(5), Room(4 * PIXELS), stop)


def test_each_gets_its_share_of_the_time(recorder, monkeypatch):
    monkeypatch.setattr(together, "time", SimpleNamespace(perf_counter=itertools.count().__next__))
    outcomes = compute(recorder, tasks(4, metrics=("fr-surrogate",)), Room(4 * PIXELS))
    assert {tuple(outcome.timings_ms) for outcome in outcomes} == {("score", "purify")}
    assert {outcome.timings_ms["purify"] for outcome in outcomes} == {250}, "a quarter of a second of the clock"
    assert {outcome.timings_ms["score"] for outcome in outcomes} == {500}, "before and after"


def order(defense="diffpure", **fields):
    return DefenseOrder(**{"kind": Kind.PURIFY, "defense": parse_defense(defense), **fields})


def test_an_item_that_cannot_be_read_is_left_out_and_its_neighbors_never_notice(photo_png, photo_jpeg):
    orders = [(order(seed=1), photo_png), (order(seed=2), photo_png[:200]), (order(seed=3), photo_png)]
    first, broken, last = execute_together(orders, room=Room(10**9))
    assert broken is None
    for (one, data), outcome in ((orders[0], first), (orders[2], last)):
        assert execute(one, data, outcome=outcome)[1] == execute(one, data)[1]


def test_an_image_of_another_size_is_left_out(photo_png):
    from models.images import ImageFormat, encode

    small = encode(torch.zeros(1, 3, 32, 32), ImageFormat.PNG)
    outcomes = execute_together([(order(), photo_png), (order(), small), (order(), photo_png)], room=Room(10**9))
    assert [outcome is None for outcome in outcomes] == [False, True, False]
    assert execute_together([(order(), b"x"), (order(), b"")], room=Room(10**9)) == [None, None]


def test_an_item_that_makes_the_purification_fail_fails_the_batch_as_a_whole(recorder):
    """So that each is tried alone: which of them it was cannot be seen from outside."""
    poisoned = tasks(3)

    class Poisoned(Recorder):
        def purify(self, images, noise):
            purified = super().purify(images, noise)
            return torch.where(torch.tensor(len(images) > 1), purified * float("nan"), purified)

    with pytest.raises(PurificationError):
        compute(Poisoned(), poisoned, Room(3 * PIXELS))
