"""Several images in one request: each has its own fate, and the whole can be followed, canceled and erased."""

import cv2
import numpy as np
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from app.documents import overall
from models.availability import AVAILABLE
from models.defenses.restore import Restore
from workers.state.record import Failure, Status
from workers.state.store import StoreFullError


def small(shade, size=32):
    return cv2.imencode(".png", np.full((size, size, 3), shade, np.uint8))[1].tobytes()


@pytest.fixture
def queue(idle_client):
    return idle_client.app.state.services.queue


def send(client, *images, path="/purify", headers=None, **fields):
    fields.setdefault("defense", "jpeg")
    fields.setdefault("metrics", "brisque" if path == "/score" else "")
    return client.post(path, files=[("image", image) for image in images], data=fields, headers=headers or {})


def test_several_images_are_a_batch_with_one_place(idle_client, queue):
    answer = send(idle_client, small(1), small(2), small(3), seed=7)
    assert answer.status_code == 202
    batch = answer.json()
    assert answer.headers["location"] == batch["links"]["self"] == f"/batches/{batch['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert set(batch) == {"id", "kind", "status", "progress", "counts", "items", "links"}
    assert (batch["kind"], batch["status"], batch["counts"]) == ("purify", "queued", {"queued": 3})
    assert [item["index"] for item in batch["items"]] == [0, 1, 2]
    jobs = [item["job"] for item in batch["items"]]
    assert [job["position"] for job in jobs] == [0, 1, 2]
    assert {job["seed"] for job in jobs} == {7}
    assert jobs == [idle_client.get(job["links"]["self"]).json() for job in jobs]
    assert jobs[0]["links"]["batch"] == batch["links"]["self"]
    assert idle_client.get(batch["links"]["self"]).json() == batch
    assert queue.depth() == 3


def test_one_image_is_a_job_as_ever(idle_client):
    answer = send(idle_client, small(1))
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    assert "batch" not in answer.json()["links"]


def test_who_waits_gets_all_results(client):
    answer = send(client, small(10), small(20), headers={"Prefer": "wait=60"})
    assert answer.status_code == 200
    batch = answer.json()
    assert (batch["status"], batch["progress"], batch["counts"]) == ("finished", 1, {"finished": 2})
    for item, shade in zip(batch["items"], (10, 20), strict=True):
        image = client.get(item["job"]["result"]["image_url"]).content
        assert abs(int(cv2.imdecode(np.frombuffer(image, np.uint8), 1).mean()) - shade) <= 2
    assert client.post(f"{batch['links']['self']}/cancel").status_code == 409


def test_scores_of_several_images(client, photo_png, photo_jpeg):
    batch = send(client, photo_png, photo_jpeg, path="/score", headers={"Prefer": "wait=60"}).json()
    assert batch["kind"] == "score"
    assert [item["job"]["result"]["scores"][0]["metric"] for item in batch["items"]] == ["brisque", "brisque"]


def test_a_bad_image_fails_alone(idle_client, queue):
    batch = send(idle_client, small(1), b"no image", small(2)).json()
    good, bad, other = batch["items"]
    assert (good["status"], bad["status"], other["status"]) == ("queued", "failed", "queued")
    assert bad["job"] is None
    assert bad["error"]["code"] == "unsupported-image"
    assert bad["error"]["status"] == 415
    assert good["error"] is None
    assert queue.depth() == 2
    assert batch["counts"] == {"queued": 2, "failed": 1}


def test_if_every_image_is_bad_nothing_is_accepted(idle_client, queue, broker):
    answer = send(idle_client, b"no image", small(1, 8))
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "no-good-image"
    assert [error["field"] for error in problem["errors"]] == ["image.0", "image.1"]
    assert queue.depth() == 0
    assert not broker.keys("purifiqa:batch:*")


@pytest.mark.parametrize(("failure", "status"), [(RedisConnectionError, 503), (StoreFullError, 507)])
def test_a_batch_that_was_not_taken_is_not_restored_when_the_broker_is_back(
    idle_client, queue, settings, monkeypatch, failure, status
):
    def raising(error):
        return lambda *_: (_ for _ in ()).throw(error)

    monkeypatch.setattr(queue, "submit_all", raising(failure))
    monkeypatch.setattr(queue.ledger, "exists", raising(RedisConnectionError))
    assert send(idle_client, small(1), small(2)).status_code == status
    assert not list(settings.data_dir.rglob("manifest"))


def test_what_is_wrong_with_the_order_is_wrong_with_all(idle_client, queue):
    answer = send(idle_client, small(1), small(2), defense="jpg")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["suggestion"] == "jpeg"
    assert queue.depth() == 0


def test_a_defense_that_cannot_be_used_here_is_told_once_and_not_as_bad_images(
    idle_client, queue, tmp_path, monkeypatch
):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path))
    answer = send(idle_client, small(1), small(2), defense='{"name": "diffpure", "denoiser": "adm-256"}')
    assert (answer.status_code, answer.json()["code"]) == (409, "defense-unavailable")
    assert queue.depth() == 0


def test_an_image_that_is_too_small_for_a_metric_fails_alone(idle_client, photo_png):
    batch = send(idle_client, photo_png, small(3, 20), path="/score", metrics="fr-surrogate").json()
    assert [item["status"] for item in batch["items"]] == ["queued", "failed"]
    assert batch["items"][1]["error"]["code"] == "image-size-unsuitable"


@pytest.mark.parametrize(
    ("limits", "path", "fields", "code"),
    [
        ({"max_work": 0.01}, "/purify", {"defense": "diffpure"}, "too-much-work"),
        ({"max_held": 0.02}, "/attack", {"attack": "ifgsm", "metric": "fr-surrogate"}, "too-much-memory"),
        ({"max_pixels": 30_000}, "/purify", {"defense": '{"name": "restore", "network": "any", "outscale": 2}'}, "result-too-large"),
    ],
)  # fmt: skip
def test_an_image_that_is_too_large_for_the_order_fails_alone(open_client, monkeypatch, limits, path, fields, code):
    monkeypatch.setattr(Restore, "availability", lambda _: AVAILABLE)
    client = open_client(attacks=True, **limits)
    large = small(2, 150)
    answer = client.post(path, files=[("image", small(1)), ("image", large)], data=fields)
    assert answer.status_code == 202, answer.text
    assert [item["status"] for item in answer.json()["items"]] == ["queued", "failed"]
    assert answer.json()["items"][1]["error"]["code"] == code
    alone = client.post(path, files=[("image", large), ("image", large)], data=fields)
    assert (alone.status_code, alone.json()["code"]) == (422, "no-good-image")
    assert client.app.state.services.queue.depth() == 1


def test_all_images_together_have_a_limit_of_pixels(idle_client, queue):
    idle_client.app.state.services.settings.__dict__["max_batch_pixels"] = 2048
    assert send(idle_client, small(1), small(2)).status_code == 202
    idle_client.app.state.services.settings.__dict__["max_batch_pixels"] = 3071
    answer = send(idle_client, small(1), small(2), small(3))
    assert answer.status_code == 413
    error = answer.json()["errors"][0]
    assert (error["code"], error["limit"], error["actual"]) == ("too-many-pixels", 3071, 3072)
    assert queue.depth() == 2


def test_as_many_images_as_are_allowed_are_taken_and_not_one_more(open_client):
    client = open_client(max_batch_images=2)
    assert send(client, small(1), small(2)).status_code == 202
    assert send(client, small(1), small(2), small(3)).json()["code"] == "too-many"


def test_several_images_cannot_be_answered_with_one(idle_client):
    assert send(idle_client, small(1), small(2), headers={"Accept": "image/png"}).status_code == 406


def test_the_progress_of_a_batch_is_that_of_its_items_together_and_what_has_ended_counts_whole(idle_client, queue):
    batch = send(idle_client, small(1), b"bad", small(2), small(3)).json()
    assert batch["links"]["cancel"] == f"{batch['links']['self']}/cancel"
    assert batch["progress"] == 0.25
    one, _, two, three = (item["job"] and item["job"]["id"] for item in batch["items"])
    queue.ledger.keep(queue.ledger.start(one, holder="w"), "w", 0.4)
    queue.ledger.keep(queue.ledger.start(two, holder="w"), "w", 0.2)
    queue.fail(queue.ledger.get(two), Failure(code="metric-failed", detail="NaN"))
    told = idle_client.get(batch["links"]["self"]).json()
    assert (told["progress"], told["status"]) == (0.6, "running")
    queue.cancel(one)
    queue.cancel(three)
    assert "cancel" not in idle_client.get(batch["links"]["self"]).json()["links"], "there is nothing left to cancel"


def test_canceling_a_batch_keeps_what_is_done(idle_client, queue):
    batch = send(idle_client, small(1), small(2), small(3)).json()
    first = batch["items"][0]["job"]["id"]
    queue.ledger.start(first)
    queue._forget(queue.ledger.get(first))
    queue.fail(queue.ledger.get(first), Failure(code="metric-failed", detail="NaN"))
    for _ in range(2):
        canceled = idle_client.post(batch["links"]["cancel"])
        assert canceled.status_code == 200
        assert canceled.json()["counts"] == {"failed": 1, "canceled": 2}
        assert canceled.json()["status"] == "canceled"
    assert queue.depth() == 0


def test_an_erased_batch_leaves_no_file_no_key_and_is_unknown(idle_client, broker, settings):
    batch = send(idle_client, small(1), b"bad", small(2), headers={"Idempotency-Key": "k"}).json()
    assert idle_client.delete(batch["links"]["self"]).status_code == 204
    assert not [path for path in settings.data_dir.rglob("*") if path.is_file()]
    assert {key for key in broker.scan_iter() if not key.startswith(b"rq:queues")} == set()
    for call in (idle_client.get, idle_client.delete):
        assert call(batch["links"]["self"]).status_code == 404
    assert idle_client.get(batch["items"][0]["job"]["links"]["self"]).status_code == 404


def test_erasing_a_batch_erases_the_files_of_an_item_whose_record_has_expired_too(idle_client, broker, settings):
    batch = send(idle_client, small(1), small(2)).json()
    broker.delete(f"purifiqa:job:{batch['items'][0]['job']['id']}")
    assert idle_client.delete(batch["links"]["self"]).status_code == 204
    assert not [path for path in settings.data_dir.rglob("*") if path.is_file()]


def test_an_item_that_was_erased_alone_is_told_and_a_batch_of_none_is_gone(idle_client, broker):
    batch = send(idle_client, small(1), small(2)).json()
    one, two = (item["job"]["links"]["self"] for item in batch["items"])
    idle_client.delete(one)
    left = idle_client.get(batch["links"]["self"]).json()
    assert left["items"][0] == {**left["items"][0], "status": None, "job": None}
    assert left["items"][0]["error"]["code"] == "job-expired"
    assert left["counts"] == {"gone": 1, "queued": 1}
    idle_client.delete(two)
    assert idle_client.get(batch["links"]["self"]).status_code == 410
    broker.delete(f"purifiqa:batch:{batch['id']}")
    gone, unknown = idle_client.get(batch["links"]["self"]), idle_client.get("/batches/nosuchbatch")
    assert gone.status_code == 410
    assert gone.json()["detail"] == "The batch has expired: its retention time is over."
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "There is no such batch.")


def test_every_key_of_a_batch_has_an_end(idle_client, broker):
    send(idle_client, small(1), small(2), headers={"Idempotency-Key": "k"})
    for key in broker.scan_iter():
        if key not in (b"rq:queue:purifiqa", b"rq:queues", b"purifiqa:open", b"purifiqa:ends"):
            assert broker.ttl(key) > 0, key


def test_identical_images_of_a_batch_are_answered_from_the_store(client):
    ready = send(client, small(77), headers={"Prefer": "wait=30"})
    assert ready.json()["status"] == "finished"
    batch = send(client, small(77), small(78)).json()
    assert batch["items"][0]["status"] == "finished"


@pytest.mark.parametrize(("statuses", "expected"), [
    ("queued queued", "queued"), ("queued running", "running"), ("finished queued", "running"),
    ("finished failed", "finished"), ("failed canceled", "canceled"), ("failed failed", "failed"),
])  # fmt: skip
def test_the_status_of_the_whole_follows_from_its_parts(statuses, expected):
    assert overall([Status(one) for one in statuses.split()]) == expected
