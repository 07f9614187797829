"""What counts against an API key, and what counts once."""

import pytest
from problems import problem


def test_a_batch_whose_idempotency_key_was_lost_in_between_is_paid_for_once(
    open_client, keys, photo_png, broker, monkeypatch
):
    client = open_client(rate=0.001, burst=50)
    queue = client.app.state.services.queue
    submit_all, tries = queue.submit_all, []

    def slow(records, claim, *more):
        tries.append(claim)
        if len(tries) < 3:
            broker.delete(claim.name)
        submit_all(records, claim, *more)

    monkeypatch.setattr(queue, "submit_all", slow)
    answer = client.post(
        "/purify", files=[("image", photo_png)] * 4, data={"defense": "none", "metrics": ""},
        headers=keys["alice"] | {"Idempotency-Key": "k"},
    )  # fmt: skip
    assert (answer.status_code, len(tries), queue.depth()) == (202, 3, 4)
    assert float(broker.hget("purifiqa:rate:alice", "tokens")) == pytest.approx(46, abs=0.5)


def test_a_job_that_runs_counts_until_it_has_ended(open_client, keys, submit):
    client = open_client(max_in_flight=1)
    job = submit(client, keys["alice"]).json()["id"]
    queue = client.app.state.services.queue
    queue.ledger.start(job)
    problem(submit(client, keys["alice"]), 429, "too-many-jobs")
    queue.cancel(job)
    assert submit(client, keys["alice"]).status_code == 202


def test_a_batch_that_no_wait_would_let_in_is_told_the_limit_and_not_to_wait(open_client, keys, photo_png, broker):
    client = open_client(max_in_flight=2)

    def send(images, headers):
        fields, parts = {"defense": "none", "metrics": ""}, [("image", image) for image in images]
        return client.post("/purify", files=parts, data=fields, headers=headers)

    key = keys["alice"] | {"Idempotency-Key": "k"}
    refused = send([photo_png] * 3, key)
    wrong = problem(refused, 422, "too-many")["errors"][0]
    assert (wrong["field"], wrong["limit"], wrong["actual"]) == ("image", 2, 3)
    assert "retry-after" not in refused.headers
    assert broker.zcard("purifiqa:inflight:alice") == 0
    assert not list(client.app.state.services.store.owners())
    assert send([photo_png, b"no image", photo_png], key).status_code == 202, "one that cannot be used takes no place"
    problem(send([photo_png] * 2, keys["alice"]), 429, "too-many-jobs")


def test_an_erased_job_gives_its_place_back_at_once(open_client, keys, submit, broker):
    client = open_client(max_in_flight=1)
    for _ in range(3):
        answer = submit(client, keys["alice"])
        assert answer.status_code == 202
        assert client.delete(answer.headers["location"], headers=keys["alice"]).status_code == 204
    assert broker.zcard("purifiqa:inflight:alice") == 0
