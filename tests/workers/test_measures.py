"""Histograms that many processes fill and each can tell."""

import time

import pytest
import redis
from submitted import submitted

from models.defenses import DEFENSES, parse_defense
from models.images import ImageFacts, ImageFormat
from workers.orders import DefenseOrder, Kind
from workers.reports import Report
from workers.state.measures import BATCH_SIZE, MEASURES_TOLD, QUEUE_SECONDS, RUN_SECONDS, histograms
from workers.state.queue import JobQueue
from workers.state.record import Failure

ORDER = DefenseOrder(kind=Kind.PURIFY, defense=parse_defense("flip"), seed=5)
IMAGE = ImageFacts(format=ImageFormat.PNG, width=64, height=48, mode="RGB", bytes=10, sha256="0" * 64, conversions=())


def test_observations_of_several_processes_add_up(queue, settings):
    other = JobQueue(settings)
    for one, sizes in ((queue.presence, (1, 2, 3)), (other.presence, (8, 100))):
        for size in sizes:
            one.observations.observe(BATCH_SIZE, size)
        one.beat("w")
    other.broker.connection.close()
    [found] = histograms(queue.presence.measures(), BATCH_SIZE)
    assert found.counts == (1, 1, 1, 1, 0, 0, 0, 1)  # bounds 1, 2, 4, 8, 16, 32, 64 and above
    assert found.total == 114


def test_nothing_reaches_redis_before_the_pulse_and_nothing_is_carried_twice(queue):
    queue.presence.observations.observe(QUEUE_SECONDS, 0.2)
    assert queue.presence.measures() == {}
    queue.presence.beat("w")
    queue.presence.beat("w")
    [found] = histograms(queue.presence.measures(), QUEUE_SECONDS)
    assert (sum(found.counts), found.total) == (1, pytest.approx(0.2))


def test_what_could_not_be_carried_is_carried_the_next_time(queue, monkeypatch):
    queue.presence.observations.observe(BATCH_SIZE, 4)
    with monkeypatch.context() as patch:
        patch.setattr(redis.client.Pipeline, "execute", lambda *_: (_ for _ in ()).throw(redis.ConnectionError()))
        with pytest.raises(redis.ConnectionError):
            queue.presence.beat("w")
    queue.presence.observations.observe(BATCH_SIZE, 4)
    queue.presence.leave("w")
    [found] = histograms(queue.presence.measures(), BATCH_SIZE)
    assert sum(found.counts) == 2


def test_a_job_is_observed_once_waiting_and_once_running(queue):
    for number, end in enumerate(
        (lambda record: queue.finish(record, Report()), lambda record: queue.fail(record, Failure(code="x", detail="")))
    ):
        submitted(queue, f"job{number}", ORDER, IMAGE)
        queue.ledger.start(f"job{number}")
        end(queue.ledger.start(f"job{number}"))  # started again after its worker was lost
    queue.presence.beat("w")
    measures = queue.presence.measures()
    [waited], [ran] = histograms(measures, QUEUE_SECONDS), histograms(measures, RUN_SECONDS)
    assert sum(waited.counts) == 2
    assert (ran.labels, sum(ran.counts)) == (("purify", "flip"), 2)


def test_clocks_that_disagree_never_lower_a_sum(queue):
    queue.presence.observations.observe(QUEUE_SECONDS, -5)
    queue.presence.beat("w")
    [found] = histograms(queue.presence.measures(), QUEUE_SECONDS)
    assert (found.counts[0], found.total) == (1, 0)


def test_the_hash_of_measures_stays_below_its_documented_bound():
    fields = 0
    for measure in MEASURES_TOLD:
        combinations = 2 * len(DEFENSES) if measure.labels else 1
        fields += combinations * (len(measure.bounds) + 2)
    assert fields < 1000


def test_what_the_queue_tells_of_its_oldest_job(queue, broker):
    assert queue.outlook.oldest_age() == 0
    submitted(queue, "job1", ORDER, IMAGE)
    time.sleep(0.05)
    submitted(queue, "job2", ORDER, IMAGE)
    assert 0.05 <= queue.outlook.oldest_age() < 30
    broker.delete("purifiqa:job:job1")  # expired, but still in the list
    assert queue.outlook.oldest_age() < 30
