"""`Idempotency-Key`: sent twice, at once or later, done once; another order under the same key is refused."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from app import intake
from workers.state.claims import CLAIM_SECONDS, KEPT_SECONDS, Claim, Claims, Earlier

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


@pytest.fixture
def send(idle_client, photo_png):
    def send(path="/purify", image=photo_png, headers=KEY, **fields):
        metrics = "entropy" if path == "/score" else ""
        return idle_client.post(path, files={"image": image}, data={"metrics": metrics, **fields}, headers=headers)

    send.store = idle_client.app.state.services.store
    return send


@pytest.fixture
def queue(idle_client):
    return idle_client.app.state.services.queue


def files(settings):
    return [path for path in settings.data_dir.rglob("*") if path.is_file()]


def test_the_same_request_is_answered_with_the_same_job(send, queue):
    first, second = send(), send()
    assert first.status_code == second.status_code == 202
    assert first.headers["location"] == second.headers["location"]
    assert second.json() == first.json()
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert queue.depth() == 1


def test_it_is_the_same_however_it_is_spaced_and_quoted(send, queue):
    first = send(defense='{"name": "jpeg", "quality": 50}')
    second = send(defense='{"quality":50,"name":"jpeg"}', headers={"Idempotency-Key": f'"{KEY["Idempotency-Key"]}"'})
    assert second.headers["location"] == first.headers["location"]


@pytest.mark.parametrize("change", [
    {"seed": "1"}, {"defense": "flip"}, {"format": "webp"}, {"metrics": "entropy"},
    {"headers": {**KEY, "Accept": "image/webp"}}, {"webhook": "https://example.org/hook"},
])  # fmt: skip
def test_another_order_under_the_key_is_refused(send, queue, settings, monkeypatch, change):
    monkeypatch.setattr("app.submission.chosen_webhook", lambda url, _: url)
    send()
    kept = files(settings)
    answer = send(**change)
    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency-key-reused"
    assert queue.depth() == 1
    assert files(settings) == kept


def test_another_image_under_the_key_is_refused(send, photo_jpeg):
    send()
    assert send(image=photo_jpeg).json()["code"] == "idempotency-key-reused"


def test_another_route_or_key_is_another_request(send, queue):
    places = {
        send().headers["location"], send("/score").headers["location"],
        send(headers={"Idempotency-Key": "x"}).headers["location"], send(headers={}).headers["location"],
    }  # fmt: skip
    assert len(places) == 4


@pytest.mark.parametrize("key", ["", " ", "a b", '"', '""', '"a', "a" * 256, f'"{"a" * 256}"', "é", 'a"b'])
def test_a_key_that_is_none_is_refused(send, queue, key):
    answer = send(headers={"Idempotency-Key": key.encode()})
    assert answer.status_code == 400
    assert answer.json()["code"] == "idempotency-key-invalid"
    assert queue.depth() == 0


@pytest.mark.parametrize("key", ["~" * 255, f'"{"a " * 127}a"', f'"{chr(92) * 510}"'])
def test_the_longest_key_is_one(send, key):
    headers = {"Idempotency-Key": key}
    assert send(headers=headers).headers["location"] == send(headers=headers).headers["location"]


def test_two_keys_are_none(send, queue):
    assert send(headers=[*KEY.items(), ("Idempotency-Key", "another")]).json()["code"] == "idempotency-key-invalid"
    assert queue.depth() == 0


def test_a_bad_request_does_not_use_the_key_up(send):
    assert send(image=b"no image").status_code == 415
    assert send().status_code == 202


def test_many_at_once_are_one_job(send, queue, settings):
    barrier = threading.Barrier(8)

    def one(_):
        barrier.wait()
        return send()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert queue.depth() == 1
    assert len(files(settings)) == 3, "a blob, the job's name for it, and its manifest"


def test_a_key_lasts_a_day_and_goes_with_its_job(send, broker, queue):
    answer = send()
    [key] = broker.keys("purifiqa:idempotency:*")
    assert KEPT_SECONDS - 60 < broker.ttl(key) <= KEPT_SECONDS
    queue.erase(answer.json()["id"])
    assert not broker.exists(key)
    assert send().headers["location"] != answer.headers["location"]


def test_a_key_whose_job_has_expired_is_free_again(send, broker):
    answer = send()
    broker.delete(f"purifiqa:job:{answer.json()['id']}")
    again = send()
    assert again.status_code == 202
    assert again.headers["location"] != answer.headers["location"]


def test_a_process_that_dies_in_between_blocks_the_key_for_a_minute_at_most(send, broker, queue, monkeypatch):
    monkeypatch.setattr(intake, "CLAIM_WAIT_SECONDS", 0.2)

    with monkeypatch.context() as patch:
        patch.setattr(Claims, "release", lambda *_: None)
        patch.setattr(queue, "submit_all", lambda *_: 1 / 0)
        send()
    [key] = broker.keys("purifiqa:idempotency:*")
    assert 0 < broker.ttl(key) <= CLAIM_SECONDS
    answer = send()
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency-key-in-use")
    assert answer.headers["retry-after"] == "1"
    broker.delete(key)  # a minute later
    assert send().status_code == 202


def test_who_is_too_slow_loses_the_claim_and_joins_the_one_who_was_not(send, broker, queue, monkeypatch):
    original, calls = queue.submit_all, []

    def slow(records, claim, *more):
        calls.append(claim)
        if len(calls) == 1:  # its claim ends, and another takes the key and is accepted
            broker.delete(claim.name)
            assert send().status_code == 202
        original(records, claim, *more)

    monkeypatch.setattr(queue, "submit_all", slow)
    answer = send()
    assert answer.status_code == 202
    assert answer.headers["idempotency-replayed"] == "true"
    assert queue.depth() == 1
    assert len(calls) == 2


def test_a_failed_request_gives_its_key_back(send, queue, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(queue, "submit_all", lambda *_: 1 / 0)
        assert send().status_code == 500
    start = time.monotonic()
    assert send().status_code == 202
    assert time.monotonic() - start < CLAIM_SECONDS / 2


def test_who_was_accepted_although_the_broker_did_not_say_so_finds_the_job_by_its_key(send, queue, monkeypatch):
    def cut_off(*arguments, original=queue.submit_all):
        original(*arguments)
        raise RedisConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(queue, "submit_all", cut_off)
        assert send().status_code == 503
    answer = send()
    assert answer.headers["idempotency-replayed"] == "true"
    assert queue.depth() == 1
    assert send.store.read(answer.json()["id"], "input"), "it can be done"


def test_a_claim_watches_until_the_very_last_moment(broker, settings):
    claims = Claims(broker)
    claim = claims.take(("", "/purify", "k"), "f", "p1")
    assert isinstance(claim, Claim)
    with broker.pipeline() as pipe:
        claim.watch(pipe)
        broker.set(claim.name, "other")
        pipe.multi()
        claim.keep(pipe)
        with pytest.raises(Exception, match="Watched variable changed"):
            pipe.execute()
    assert broker.get(claim.name) == b"other"


def test_a_key_that_was_claimed_although_the_broker_did_not_say_so_is_claimed(broker, monkeypatch):
    claims, told = Claims(broker), broker.set

    def asked_again(*arguments, **options):  # as the client of Redis does where the first answer was lost
        told(*arguments, **options)
        return told(*arguments, **options)

    monkeypatch.setattr(broker, "set", asked_again)
    assert isinstance(claims.take(("", "/purify", "k"), "f", "p1"), Claim)
    assert isinstance(claims.take(("", "/purify", "k"), "f", "p2"), Earlier)


def test_a_key_that_is_restored_has_the_rest_of_its_day(broker, settings):
    with broker.pipeline() as pipe:
        Claim("half", "f", "p").restore(pipe, time.time() - KEPT_SECONDS / 2)
        Claim("over", "f", "p").restore(pipe, time.time() - KEPT_SECONDS - 1)
        pipe.execute()
    assert broker.ttl("half") == pytest.approx(KEPT_SECONDS / 2, abs=60)
    assert not broker.exists("over")


def test_several_images_under_a_key_are_one_batch(idle_client, queue, photo_png, photo_jpeg):
    images = [("image", photo_png), ("image", photo_jpeg)]
    first, second = (idle_client.post("/purify", files=images, data={"metrics": ""}, headers=KEY) for _ in range(2))
    assert first.headers["location"] == second.headers["location"]
    assert second.headers["idempotency-replayed"] == "true"
    assert queue.depth() == 2
    assert second.json() == first.json()
    swapped = idle_client.post("/purify", files=images[::-1], data={"metrics": ""}, headers=KEY)
    assert swapped.json()["code"] == "idempotency-key-reused"
    idle_client.delete(first.headers["location"])
    assert queue.depth() == 0
    again = idle_client.post("/purify", files=images, data={"metrics": ""}, headers=KEY)
    assert again.headers["location"] != first.headers["location"]
