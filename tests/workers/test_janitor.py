"""The store and Redis are of one mind again, whichever of them forgot."""

import os
import time

import pytest

from workers.recovery import janitor as janitor_module
from workers.recovery import leftovers
from workers.recovery.janitor import Janitor
from workers.recovery.survey import Survey
from workers.reports import Report
from workers.state.ledger import JobUnknownError, Ledger
from workers.state.manifest import close_manifest, read_manifest
from workers.state.record import Failure, Status


@pytest.fixture
def janitor(queue, store, monkeypatch):
    monkeypatch.setattr(janitor_module, "ACCEPTING_SECONDS", 0)
    return Janitor(queue, Survey(queue.broker.connection), store, "w1")


def finish(queue, store, job_id):
    record = queue.ledger.start(job_id, placement=1)
    queue.finish(record, Report(timings_ms={"total": 1}))
    close_manifest(store, queue.ledger.get(job_id))


def test_when_redis_has_lost_everything_jobs_are_restored_as_they_were(accept, queue, store, broker, janitor, settings):
    for job_id in ("waits", "done", "failed", "canceled"):
        accept(job_id, seed=7)
    finish(queue, store, "done")
    queue.fail(queue.ledger.start("failed"), Failure(code="metric-failed", detail="NaN"))
    close_manifest(store, queue.ledger.get("failed"))
    close_manifest(store, queue.cancel("canceled"))
    before = {job_id: queue.ledger.get(job_id) for job_id in ("waits", "done", "failed", "canceled")}
    broker.flushall()
    janitor.tidy_store()
    for job_id, record in before.items():
        assert queue.ledger.get(job_id).model_copy(update={"progress": 0}) == record.model_copy(update={"progress": 0})
        assert 0 < broker.ttl(f"purifiqa:job:{job_id}") <= settings.result_ttl
    assert broker.lrange("rq:queue:purifiqa", 0, -1) == [b"waits"]
    assert broker.zrange("purifiqa:open", 0, -1) == [b"waits"]
    janitor.tidy_store()
    assert queue.depth() == 1, "once"


def test_a_job_whose_end_was_cut_off_in_the_manifest_is_done_again(accept, queue, store, broker, janitor):
    accept("job1")
    finish(queue, store, "job1")
    path = store.path("job1", "manifest")
    path.write_bytes(path.read_bytes()[:-20])
    broker.flushall()
    janitor.tidy_store()
    assert queue.ledger.get("job1").status is Status.QUEUED


def test_erased_jobs_do_not_come_back_wherever_erasing_was_cut_off(accept, queue, store, broker, janitor, monkeypatch):
    monkeypatch.setattr(janitor_module, "ORPHAN_SECONDS", -1)
    accept("job1")
    store.drop("job1", "manifest")
    queue.erase("job1")  # and here the API died
    janitor.tidy_store()
    with pytest.raises(JobUnknownError):
        queue.ledger.get("job1")
    assert list(store.owners()) == []


def test_a_worker_that_ends_an_erased_job_does_not_write_it_down_again(accept, queue, store):
    record = accept("job1")
    store.drop("job1", "manifest")
    store.erase("job1")
    close_manifest(store, record)
    assert list(store.owners()) == []
    assert read_manifest(store, "job1") is None


def test_what_has_expired_is_erased_and_what_is_kept_is_not(accept, store, broker, janitor):
    accept("kept")
    accept("expired")
    broker.delete("purifiqa:job:expired")
    janitor.tidy_store()
    assert list(store.owners()) == ["kept"]


def test_files_are_erased_as_soon_as_the_record_has_expired_without_looking_through_the_store(
    accept, queue, store, broker, janitor, settings, monkeypatch
):
    for job_id in ("kept", "expired", "erased"):
        accept(job_id)
    for job_id in ("expired", "erased"):
        finish(queue, store, job_id)
    queue.erase("erased")
    assert broker.zscore("purifiqa:ends", "expired") == pytest.approx(time.time() + settings.result_ttl, abs=5)
    assert broker.zscore("purifiqa:ends", "kept") == pytest.approx(time.time() + settings.queue_ttl, abs=5)
    broker.delete("purifiqa:job:expired")
    later = time.time() + settings.result_ttl + 5
    monkeypatch.setattr(janitor, "tidy_store", lambda: pytest.fail("every file was looked at"))
    janitor.erase_ended(time.time())
    assert sorted(store.owners()) == ["erased", "expired", "kept"], "not yet"
    janitor.erase_ended(later)
    assert sorted(store.owners()) == ["erased", "kept"]
    assert broker.zrange("purifiqa:ends", 0, -1) == [b"kept"]


def test_files_that_cannot_be_erased_keep_nothing_else_from_being_done(accept, store, broker, janitor):
    accept("good")
    store.path("bad", "folder").mkdir(parents=True)  # no file of ours
    broker.delete("purifiqa:job:good")
    broker.zadd("purifiqa:ends", {"bad": 1, "good": 2, "no name at all": 3})
    janitor.erase_ended(time.time())
    assert list(store.owners()) == ["bad"]
    assert not broker.exists("purifiqa:ends")


def test_a_manifest_that_has_had_its_time_is_erased_even_if_redis_knows_nothing(
    accept, queue, store, broker, janitor, monkeypatch
):
    accept("job1")
    broker.flushall()
    monkeypatch.setattr(Ledger, "time_left", lambda *_: -1)
    janitor.tidy_store()
    assert list(store.owners()) == []


def test_files_without_a_manifest_are_left_alone_while_somebody_may_be_writing_them(store, janitor, monkeypatch):
    store.put("new", "input", b"photo")
    store.put("old", "input", b"photo")
    an_hour_ago = time.time() - 3600
    os.utime(store.path("old", "input").parent, (an_hour_ago, an_hour_ago))
    janitor.tidy_store()
    assert list(store.owners()) == ["new"]


def test_the_store_is_searched_after_each_start_of_the_broker_until_nothing_can_be_missing(queue, janitor, monkeypatch):
    searches = []
    monkeypatch.setattr(janitor, "tidy_store", lambda: searches.append(1))
    now = janitor._survey.broker()
    assert queue.presence.claim_housekeeping("somebody else")
    for uptime, expected in ((1, 1), (3, 1), (44, 2), (50, 2)):
        janitor.look(now._replace(run="a", uptime=uptime))
        assert len(searches) == expected
    janitor.look(now._replace(run="b", uptime=1))
    assert len(searches) == 3


def test_every_few_minutes_all_that_is_left_over_is_removed_and_the_store_is_measured(
    accept, queue, store, broker, janitor
):
    accept("kept")
    broker.hset("rq:job:stray", mapping={"origin": "purifiqa", "data": "x"})
    broker.zadd("purifiqa:jobs-of:", {"gone": 1})
    store.put("erased", "input", b"nobody's")
    store.path("erased", "input").unlink()
    store.path("erased", "input").parent.rmdir()
    [blob] = [path for path in store._blobs.glob("*/*") if path.read_bytes() == b"nobody's"]
    os.utime(blob, (1, 1))
    now = janitor._survey.broker()
    janitor._survey.remember(now)
    janitor.look(now)
    assert not broker.exists("rq:job:stray")
    assert broker.zrange("purifiqa:jobs-of:", 0, -1) == [b"kept"]
    assert not blob.exists()
    assert queue.presence.store_size() == store.usage() == (len(store.read("kept", "input")), 1)


def test_a_job_that_is_being_accepted_this_moment_is_not_taken_for_one_that_was_lost(
    accept, queue, store, broker, janitor, monkeypatch
):
    monkeypatch.setattr(janitor_module, "ACCEPTING_SECONDS", 30)
    accept("job1")
    broker.flushall()  # its files are there, and its record is not yet
    janitor.tidy_store()
    assert not queue.ledger.exists("job1")
    a_minute_ago = time.time() - 60
    os.utime(store.path("job1", "input").parent, (a_minute_ago, a_minute_ago))
    janitor.tidy_store()
    assert queue.ledger.exists("job1")


def test_nothing_of_rq_is_left_that_is_not_of_an_open_job(accept, queue, broker, janitor):
    accept("job1")
    broker.zadd("rq:failed:purifiqa", {"planted": time.time() + 10**8})
    broker.zadd("rq:canceled:purifiqa", {"planted2": time.time() + 10**8})
    broker.hset("rq:job:planted", mapping={"origin": "purifiqa", "data": "x"})
    broker.hset("rq:job:old", mapping={"origin": "purifiqa", "data": "x"})
    broker.hset("rq:job:of-somebody-else", mapping={"origin": "theirs", "data": "x"})
    broker.zadd("rq:wip:purifiqa", {"old:1": time.time() + 10**8})
    broker.sadd("rq:workers:purifiqa", "rq:worker:dead")
    broker.sadd("rq:workers", "rq:worker:dead")
    leftovers.remove(queue, janitor._survey)
    left = {key.decode() for key in broker.scan_iter("rq:*")}
    assert left == {"rq:queue:purifiqa", "rq:queues", "rq:job:job1", "rq:job:of-somebody-else"}
