"""How long what is kept of a job lasts, and what is noted of it when it ends."""

import asyncio
import time

import pytest
from pydantic import ValidationError
from redis.exceptions import ConnectionError as RedisConnectionError
from submitted import submitted

from models.defenses import parse_defense
from models.images import ImageFacts, ImageFormat
from workers.orders import MAX_SAMPLES, DefenseOrder, Kind
from workers.reports import Report
from workers.settings import WorkerSettings
from workers.state.ledger import EXPIRED_NOTE_TTL
from workers.state.queue import JobQueue
from workers.state.record import Delivery, JobRecord, Status

ORDER = DefenseOrder(kind=Kind.PURIFY, defense=parse_defense("flip"))
IMAGE = ImageFacts(format=ImageFormat.PNG, width=64, height=48, mode="RGB", bytes=10, sha256="0" * 64, conversions=())


def ended(waited=0.0):
    """Return the record of a job that has just ended, waited seconds after it was sent."""
    now = time.time()
    return JobRecord(
        id="ended", order=ORDER, image=IMAGE, created=now - waited, started=now, ended=now, status=Status.FINISHED,
        progress=1, report=Report(),
    )  # fmt: skip


@pytest.fixture(params=[1_000, 10 * 86_400])
def unequal(settings, request):
    """A queue whose results are kept for another time than its jobs may wait."""
    return JobQueue(settings.model_copy(update={"result_ttl": request.param}))


@pytest.mark.parametrize("way", ["performed", "answered from the store", "restored"])
def test_all_that_is_kept_of_an_ended_job_lasts_as_long_as_its_result_and_a_note_a_week_longer(unequal, broker, way):
    if way == "performed":
        submitted(unequal, "ended", ORDER, IMAGE)
        unequal.finish(unequal.ledger.start("ended"), Report())
    elif way == "restored":
        assert unequal.restore(ended())
    else:
        unequal.submit_all([ended()])
        assert unequal.presence.totals() == {("purify", "flip", "finished"): 1}
    ttl = unequal._settings.result_ttl
    assert broker.ttl("purifiqa:job:ended") == pytest.approx(ttl, abs=30)
    assert broker.ttl("purifiqa:events:ended") == pytest.approx(ttl, abs=30)
    assert broker.zscore("purifiqa:ends", "ended") == pytest.approx(time.time() + ttl, abs=30)
    assert broker.ttl("purifiqa:expired:ended") == pytest.approx(ttl + EXPIRED_NOTE_TTL, abs=30)
    assert not broker.exists("purifiqa:open")


def test_a_job_that_is_put_back_may_wait_as_long_as_any(unequal, broker):
    submitted(unequal, "again", ORDER, IMAGE)
    unequal.put_back(unequal.ledger.start("again"))
    ttl = unequal._settings.queue_ttl
    assert broker.ttl("purifiqa:job:again") == pytest.approx(ttl, abs=30)
    assert broker.zscore("purifiqa:ends", "again") == pytest.approx(time.time() + ttl, abs=30)


def test_who_cancels_in_the_moment_of_the_end_is_told_how_it_ended(queue, monkeypatch):
    submitted(queue, "job1", ORDER, IMAGE)
    record, end = queue.ledger.start("job1"), queue.ledger.end

    def late(*arguments, **fields):
        monkeypatch.setattr(queue.ledger, "end", end)
        queue.finish(record, Report())
        end(*arguments, **fields)

    monkeypatch.setattr(queue.ledger, "end", late)
    assert queue.cancel("job1").status is Status.FINISHED


def test_a_record_that_is_there_is_not_restored_over(queue):
    submitted(queue, "job1", ORDER, IMAGE)
    record = queue.ledger.start("job1")
    assert not queue.restore(record.model_copy(update={"status": Status.QUEUED, "started": None}))
    assert queue.ledger.get("job1") == record
    assert queue.depth() == 1, "the entry that it was taken from, which nobody took here"


def test_the_time_of_an_ended_job_counts_from_its_end_and_that_of_another_from_when_it_was_sent(unequal):
    record = ended(waited=5_000)
    ttl, wait = unequal._settings.result_ttl, unequal._settings.queue_ttl
    assert unequal.ledger.time_left(record) == pytest.approx(ttl, abs=30)
    assert unequal.ledger.time_left(record.model_copy(update={"ended": None})) == pytest.approx(wait - 5_000, abs=30)


def test_no_job_lives_longer_than_the_longest_life(unequal):
    order = ORDER.model_copy(update={"kind": Kind.SCORE, "defense": parse_defense("diffpure"), "samples": MAX_SAMPLES})
    settings = unequal._settings
    longest = max(unequal.ledger.time_limit(order), settings.timeout_attack)
    assert unequal.ledger.longest_life >= settings.queue_ttl + longest + settings.result_ttl


@pytest.mark.parametrize("name", ["timeout_cheap", "timeout_network", "timeout_diffusion", "timeout_attack"])
def test_no_time_limit_can_be_set_that_is_too_long_for_an_alarm(name):
    longest = WorkerSettings(**{name: 604_800})
    assert getattr(longest, name) * MAX_SAMPLES < 2**31
    with pytest.raises(ValidationError, match="less than or equal to 604800"):
        WorkerSettings(**{name: 604_801})


@pytest.mark.parametrize("name", ["result_ttl", "queue_ttl"])
def test_nothing_is_kept_for_longer_than_redis_can_count(name):
    with pytest.raises(ValidationError, match="less than or equal to 315360000"):
        WorkerSettings(**{name: 10**19})


def test_the_pace_is_that_of_the_work_and_not_of_the_wait(queue):
    record = ended(waited=5_000).model_copy(update={"status": Status.QUEUED, "started": None, "ended": None})
    queue.submit_all([record])
    queue.finish(queue.ledger.start(record.id), Report())
    assert queue.pace.expected(ORDER)[0] < 1_000


def test_what_became_of_a_webhook_is_not_written_down_where_its_job_is_gone(queue, broker):
    broker.zadd("purifiqa:webhooks", {"gone": 1})

    async def settle():
        await queue.deliveries.settle("gone", Delivery(state="pending", attempts=1), again_in=5)
        await queue.broker.close()

    asyncio.run(settle())
    assert not broker.exists("purifiqa:job:gone", "purifiqa:webhooks")


def test_a_job_has_ended_although_the_broker_fails_where_only_its_use_to_others_is_noted(queue, monkeypatch):
    def away(*_):
        raise RedisConnectionError

    monkeypatch.setattr(queue.answers, "remember", away)
    monkeypatch.setattr(queue.pace, "note", away)
    submitted(queue, "job1", ORDER, IMAGE)
    queue.finish(queue.ledger.start("job1"), Report())
    assert queue.ledger.get("job1").status is Status.FINISHED
