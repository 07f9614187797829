"""`GET /jobs`: one's own jobs, newest first, page by page, without one missing or coming twice."""

import itertools
import json
import time

import pytest
from submitted import submitted

from models.defenses import parse_defense
from models.images import ImageFacts, ImageFormat
from workers.orders import DefenseOrder, Kind
from workers.state.queue import JobQueue
from workers.state.record import JobRecord, Origin
from workers.state.register import CHUNK

ORDER = DefenseOrder(kind=Kind.PURIFY, defense=parse_defense("flip"))
IMAGE = ImageFacts(format=ImageFormat.PNG, width=64, height=48, mode="RGB", bytes=10, sha256="0" * 64, conversions=())


@pytest.fixture
def queue(idle_client):
    return idle_client.app.state.services.queue


def add(queue, count, owner="", created=None):
    start = time.time() if created is None else created
    step = 0 if created else 0.001
    records = [
        JobRecord(id=f"{owner or 'job'}{n:04}", order=ORDER, image=IMAGE, origin=Origin(owner=owner), created=start + n * step)
        for n in range(count)
    ]  # fmt: skip
    queue.submit_all(records)
    return [record.id for record in reversed(records)]


def pages(client, place):
    while place:
        answer = client.get(place)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        place = page["links"].get("next")
        assert ("link" in answer.headers) == bool(place)
        yield [job["id"] for job in page["jobs"]]


def test_there_are_none_at_first(idle_client):
    assert idle_client.get("/jobs").json() == {"jobs": [], "links": {"self": "/jobs?limit=20"}}


def test_a_mistyped_filter_is_refused_and_does_not_list_all(idle_client):
    answer = idle_client.get("/jobs?statuss=failed")
    assert answer.status_code == 422
    [finding] = answer.json()["errors"]
    assert (finding["field"], finding["code"]) == ("statuss", "extra-forbidden")


def test_the_newest_come_first_each_as_its_own_document(idle_client, queue):
    ids = add(queue, 3)
    jobs = idle_client.get("/jobs").json()["jobs"]
    assert [job["id"] for job in jobs] == ids
    assert jobs == [idle_client.get(f"/jobs/{job_id}").json() for job_id in ids]
    assert [job["position"] for job in jobs] == [2, 1, 0]


@pytest.mark.parametrize("created", [None, 1e9 + 0.1])
def test_paging_gives_each_job_once_also_jobs_of_one_moment(idle_client, queue, created):
    now = None if created is None else time.time()
    ids = add(queue, CHUNK + 7, created=now)
    found = list(pages(idle_client, "/jobs?limit=25"))
    assert list(itertools.chain(*found)) == ids
    assert [len(page) for page in found] == [25, 25, 25, 25, 7]


def test_jobs_that_come_while_one_pages_do_not_move_the_pages(idle_client, queue):
    ids = add(queue, 6)
    first = idle_client.get("/jobs?limit=3").json()
    submitted(queue, "later", ORDER, IMAGE)
    second = idle_client.get(first["links"]["next"]).json()
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids


def test_a_page_tells_how_to_ask_for_it_again(idle_client, queue):
    add(queue, 3)
    assert idle_client.get("/jobs?limit=100").json()["links"] == {"self": "/jobs?limit=100"}
    first = idle_client.get("/jobs?status=queued&limit=2").json()
    assert first["links"]["self"] == "/jobs?limit=2&status=queued"
    second = idle_client.get(first["links"]["next"]).json()
    assert second["links"] == {"self": first["links"]["next"]}
    assert idle_client.get(second["links"]["self"]).json() == second


def test_what_nobody_can_still_have_leaves_the_list_when_the_next_job_comes(queue, broker):
    broker.zadd("purifiqa:jobs-of:", {"old": time.time() - queue.ledger.longest_life - 60, "kept": time.time() - 60})
    [new] = add(queue, 1)
    assert broker.zrange("purifiqa:jobs-of:", 0, -1) == [b"kept", new.encode()]


def test_a_filter_finds_few_among_many(idle_client, queue):
    ids = add(queue, 2 * CHUNK + 3)
    wanted = [ids[0], ids[CHUNK + 1], ids[-1]]
    for job_id in wanted:
        queue.cancel(job_id)
    assert list(itertools.chain(*pages(idle_client, "/jobs?status=canceled&limit=2"))) == wanted
    assert list(pages(idle_client, "/jobs?status=finished")) == [[]]


def test_erased_and_ended_jobs_leave_the_list(idle_client, queue, broker):
    ids = add(queue, 3)
    idle_client.delete(f"/jobs/{ids[0]}")
    broker.delete(f"purifiqa:job:{ids[1]}")  # its time is over
    assert [job["id"] for job in idle_client.get("/jobs").json()["jobs"]] == ids[2:]
    assert broker.zrange("purifiqa:jobs-of:", 0, -1) == [ids[2].encode()]
    assert broker.ttl("purifiqa:jobs-of:") > 0


@pytest.mark.parametrize("query", ["status=done", "limit=0", "limit=101", "limit=x", "cursor=!", "cursor=bm90aGluZw", "cursor=" + "A" * 300, "cursor=bmFuOmpvYg", "status=queued&status=failed"])  # fmt: skip
def test_a_wrong_query_is_a_problem_of_its_field(idle_client, query):
    answer = idle_client.get(f"/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


def test_owners_see_only_their_own_jobs_and_others_are_as_unknown_as_none(guarded, keys):
    queue, alice = guarded.app.state.services.queue, keys["alice"]
    mine, theirs = add(queue, 2, "alice"), add(queue, 2, "bob")
    assert [job["id"] for job in guarded.get("/jobs", headers=alice).json()["jobs"]] == mine
    assert guarded.get(f"/jobs/{mine[0]}", headers=alice).status_code == 200
    for path in ("", "/image", "/events", "/webhook"):
        answer = guarded.get(f"/jobs/{theirs[0]}{path}", headers=alice)
        assert (answer.status_code, answer.json()["code"]) == (404, "job-unknown")
    assert guarded.post(f"/jobs/{theirs[0]}/cancel", headers=alice).status_code == 404
    assert guarded.delete(f"/jobs/{theirs[0]}", headers=alice).status_code == 404
    assert queue.ledger.get(theirs[0]).status == "queued"


def test_a_job_that_another_version_wrote_is_passed_over_and_stays_in_the_list(idle_client, queue, broker):
    ids = add(queue, 2)
    fixed = broker.hget(f"purifiqa:job:{ids[0]}", "fixed")
    unknown = {**json.loads(fixed), "kind": "something newer"}
    broker.hset(f"purifiqa:job:{ids[0]}", "fixed", json.dumps(unknown))
    assert [job["id"] for job in idle_client.get("/jobs").json()["jobs"]] == ids[1:]
    assert idle_client.get(f"/jobs/{ids[0]}").status_code == 410
    queue.register.prune()
    broker.hset(f"purifiqa:job:{ids[0]}", "fixed", fixed)
    assert sorted(job["id"] for job in idle_client.get("/jobs").json()["jobs"]) == sorted(ids)


def test_the_janitor_takes_ended_records_out_of_every_list(settings, broker):
    queue = JobQueue(settings)
    kept, gone = add(queue, 2, "alice"), add(queue, 2, "bob")
    broker.delete(*(f"purifiqa:job:{job_id}" for job_id in [*gone, kept[0]]))
    queue.register.prune()
    assert broker.zrange("purifiqa:jobs-of:alice", 0, -1) == [kept[1].encode()]
    assert not broker.exists("purifiqa:jobs-of:bob")
    queue.broker.connection.close()
