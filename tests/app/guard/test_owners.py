"""Whose a job is: to everybody else it is unknown, in every way in which one could ask."""

import itertools

import pytest
from problems import problem

from workers.reports import Report, ResultImage
from workers.state.record import Status

ASK = [("GET", ""), ("GET", "/image"), ("GET", "/events"), ("GET", "/webhook"), ("POST", "/cancel"), ("DELETE", "")]


@pytest.fixture
def job(guarded, keys, submit):
    """A queued job of alice's: where it is."""
    answer = submit(guarded, keys["alice"])
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def finish(client, place):
    """End the job as a worker would; return the ETag of its image."""
    services, job_id = client.app.state.services, place.rpartition("/")[2]
    digest = services.store.put(job_id, "output", b"pretend")
    image = ResultImage(format="png", width=1, height=1, bytes=7, sha256=digest)
    services.queue.finish(services.queue.ledger.start(job_id), Report(image=image))
    return f'"{digest}"'


@pytest.mark.parametrize(("method", "below"), ASK)
@pytest.mark.parametrize("ended", [False, True])
def test_a_job_of_somebody_else_is_exactly_as_unknown_as_one_that_never_was(guarded, keys, job, method, below, ended):
    if ended:
        finish(guarded, job)
    theirs = guarded.request(method, job + below, headers=keys["bob"])
    never = guarded.request(method, f"/jobs/{'0' * 32}{below}", headers=keys["bob"])
    problem(theirs, 404, "job-unknown")
    of_the_request = {"instance": "", "request_id": ""}
    assert theirs.json() | of_the_request == never.json() | of_the_request
    of_the_request = {"content-length": "", "x-request-id": ""}
    assert dict(theirs.headers) | of_the_request == dict(never.headers) | of_the_request
    record = guarded.app.state.services.queue.ledger.get(job.rpartition("/")[2])
    assert record.status is (Status.FINISHED if ended else Status.QUEUED)


@pytest.mark.parametrize(("method", "below"), [("GET", ""), ("POST", "/cancel"), ("DELETE", "")])
def test_a_batch_of_somebody_else_is_unknown_also_when_it_has_expired(guarded, keys, photo_png, broker, method, below):
    data = {"defense": "jpeg", "metrics": ""}
    images = [("image", photo_png)] * 2
    place = guarded.post("/purify", files=images, data=data, headers=keys["alice"]).headers["location"]
    problem(guarded.request(method, place + below, headers=keys["bob"]), 404, "batch-unknown")
    for who in ("alice", "root"):
        assert guarded.get(place, headers=keys[who]).json()["counts"] == {"queued": 2}
    broker.delete(f"purifiqa:batch:{place.rpartition('/')[2]}")
    problem(guarded.request(method, place + below, headers=keys["bob"]), 404, "batch-unknown")
    problem(guarded.request(method, place + below, headers=keys["alice"]), 410, "batch-expired")


def test_an_etag_does_not_tell_whether_somebody_else_has_an_image(guarded, keys, job):
    tag = finish(guarded, job)
    for sent in (tag, "*", f"W/{tag}"):
        problem(guarded.get(f"{job}/image", headers={**keys["bob"], "If-None-Match": sent}), 404, "job-unknown")
    assert guarded.get(f"{job}/image", headers={**keys["alice"], "If-None-Match": tag}).status_code == 304


def test_an_idempotency_key_stands_for_nothing_of_somebody_elses(guarded, keys, submit):
    sent = {"Idempotency-Key": "k"}
    theirs = submit(guarded, keys["alice"] | sent)
    same, other = submit(guarded, keys["bob"] | sent), submit(guarded, keys["root"] | sent, defense="flip")
    assert [answer.status_code for answer in (theirs, same, other)] == [202] * 3
    assert len({answer.headers["location"] for answer in (theirs, same, other)}) == 3
    assert submit(guarded, keys["alice"] | sent).headers["location"] == theirs.headers["location"]


def test_an_expired_job_is_gone_for_its_owner_and_unknown_to_others(guarded, keys, job, broker):
    broker.delete(f"purifiqa:job:{job.rpartition('/')[2]}")
    problem(guarded.get(job, headers=keys["alice"]), 410, "job-expired")
    problem(guarded.get(job, headers=keys["bob"]), 404, "job-unknown")


def test_an_owner_and_an_administrator_may_do_everything(guarded, keys, submit, job):
    for who, (method, below) in itertools.product(("alice", "root"), [("GET", ""), ("POST", "/cancel")]):
        assert guarded.request(method, job + below, headers=keys[who]).status_code == 200
    assert guarded.delete(job, headers=keys["root"]).status_code == 204


def test_a_new_key_of_the_same_name_has_the_same_jobs(guarded, keys, job, settings):
    from app.guard.keys import new_key, write_file

    key, stored = new_key("alice")
    write_file(settings.keys_file, [stored])
    assert guarded.get(job, headers={"X-API-Key": key}).status_code == 200
    problem(guarded.get(job, headers=keys["alice"]), 401, "key-unknown")


def test_jobs_from_before_keys_belong_to_nobody_but_the_administrator(open_client, keys, submit):
    place = submit(open_client(auth="off")).headers["location"]
    guarded = open_client()
    problem(guarded.get(place, headers=keys["alice"]), 404, "job-unknown")
    assert guarded.get(place, headers=keys["root"]).status_code == 200
