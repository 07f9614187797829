"""How long it will take: the place in the queue and a `Retry-After` that is computed."""

import pytest

from models.defenses import parse_defense
from workers.orders import DefenseOrder, Kind
from workers.state import outlook
from workers.state.pace import Pace


@pytest.fixture
def queue(idle_client):
    return idle_client.app.state.services.queue


def send(client, photo_png, defense="jpeg"):
    return client.post("/purify", files={"image": photo_png}, data={"metrics": "", "defense": defense})


def order(name):
    return DefenseOrder(kind=Kind.PURIFY, defense=parse_defense(name))


def test_a_job_knows_how_many_wait_before_it_until_it_runs_and_when_it_waits_again(idle_client, queue, photo_png):
    jobs = [send(idle_client, photo_png).json() for _ in range(3)]
    assert [job["position"] for job in jobs] == [0, 1, 2]
    idle_client.post(jobs[0]["links"]["cancel"])
    places = [idle_client.get(job["links"]["self"]).json()["position"] for job in jobs]
    assert places == [None, 0, 1]
    queue._forget(record := queue.ledger.start(jobs[1]["id"]))
    assert idle_client.get(jobs[2]["links"]["self"]).json()["position"] == 0
    queue.put_back(record)
    assert [idle_client.get(job["links"]["self"]).json()["position"] for job in jobs[1:]] == [0, 1]


def test_behind_too_many_the_place_is_not_looked_for(idle_client, photo_png, monkeypatch):
    monkeypatch.setattr(outlook, "MAX_POSITION", 2)
    jobs = [send(idle_client, photo_png).json() for _ in range(3)]
    assert [job["position"] for job in jobs] == [0, 1, None]


def test_nothing_known_means_to_ask_again_after_a_second(idle_client, photo_png):
    assert send(idle_client, photo_png).headers["retry-after"] == "1"


def test_the_time_to_come_back_grows_with_the_queue_and_shrinks_with_workers(idle_client, queue, photo_png):
    queue.pace.note(order("jpeg"), 4.0)
    waits = [int(send(idle_client, photo_png).headers["retry-after"]) for _ in range(4)]
    assert waits == [4, 8, 12, 16]
    for name in ("one", "two"):
        queue.presence.beat(name)
    answer = send(idle_client, photo_png)
    assert answer.headers["retry-after"] == str(4 * 4 // 2 + 4)
    assert idle_client.get(answer.headers["location"]).headers["retry-after"] == answer.headers["retry-after"]
    assert queue.outlook.backlog_seconds() == 5 * 4 / 2


def test_a_batch_is_to_be_asked_for_when_its_last_image_should_be_done(idle_client, queue, photo_png):
    queue.pace.note(order("jpeg"), 4.0)
    data, headers = {"metrics": "", "defense": "jpeg"}, {"Prefer": "wait=0"}
    answer = idle_client.post("/purify", files=[("image", photo_png)] * 3, data=data, headers=headers)
    assert answer.status_code == 202, "nothing is done"
    assert answer.headers["retry-after"] == "12"


def test_a_job_that_is_erased_while_its_sender_waits_was_accepted_all_the_same(
    idle_client, queue, photo_png, monkeypatch
):
    monkeypatch.setattr(queue.ledger, "get_all", lambda ids: [None for _ in ids])
    files, headers = {"image": photo_png}, {"Prefer": "wait=0"}
    answer = idle_client.post("/purify", files=files, data={"metrics": ""}, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


def test_it_is_bounded_by_the_operator(idle_client, queue, photo_png, settings):
    queue.pace.note(order("jpeg"), 1e6)
    assert send(idle_client, photo_png).headers["retry-after"] == str(settings.max_retry_after)


def test_a_running_job_counts_what_is_left_of_it_and_an_ended_one_says_nothing(idle_client, queue, photo_png):
    queue.pace.note(order("jpeg"), 20.0)
    job = send(idle_client, photo_png).json()
    queue.ledger.keep(queue.ledger.start(job["id"], holder="w"), "w", 0.75)
    assert idle_client.get(job["links"]["self"]).headers["retry-after"] == "5"
    assert idle_client.get(f"{job['links']['self']}/image").headers["retry-after"] == "1"
    queue.cancel(job["id"])
    assert "retry-after" not in idle_client.get(job["links"]["self"]).headers


def test_the_pace_is_a_mean_that_forgets_and_each_defense_has_its_own(broker, settings):
    pace = Pace(broker)
    assert pace.expected(order("jpeg")) == (1, 1)
    pace.note(order("jpeg"), 10)
    pace.note(order("jpeg"), 20)
    assert pace.expected(order("jpeg")) == (pytest.approx(12), pytest.approx(12))
    assert pace.expected(order("flip")) == (pytest.approx(12), pytest.approx(12)), "one never seen is like any"
    pace.note(order("flip"), 2)
    assert pace.expected(order("flip")) == (pytest.approx(2), pytest.approx(10))
    for _ in range(50):
        pace.note(order("jpeg"), 1)
    assert pace.expected(order("jpeg"))[0] == pytest.approx(1, abs=0.01)
    assert broker.ttl("purifiqa:pace") > 0


def test_jobs_that_are_done_set_the_pace(order_pace):
    own, every = order_pace
    assert 0 < own < 30
    assert 0 < every < 60


@pytest.fixture
def order_pace(client, photo_png):
    headers = {"Prefer": "wait=30", "Cache-Control": "no-cache"}
    answer = client.post(
        "/purify", files={"image": photo_png}, data={"metrics": "", "defense": "jpeg"}, headers=headers
    )
    assert answer.json()["status"] == "finished"
    return client.app.state.services.queue.pace.expected(order("jpeg"))
