"""Identical orders are answered from the store: a new job that is finished at once, and nobody else's."""

import hashlib
import time
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from workers.jobs import execute
from workers.state import answers as answers_module

WAIT = {"Prefer": "wait=0"}


@pytest.fixture
def played(idle_client):
    """Do all that waits, as a worker does; return how many jobs that were."""
    services = idle_client.app.state.services

    def work():
        queue, done = services.queue, 0
        for key in queue.broker.connection.lrange(queue.rq.key, 0, -1):
            job_id = key.decode()
            queue._forget(queue.ledger.get(job_id))
            record = queue.ledger.start(job_id)
            report, file = execute(record.order, services.store.read(job_id, "input"))
            if file is not None:
                digest = services.store.put(job_id, "output", file)
                report = report.model_copy(update={"image": report.image.model_copy(update={"sha256": digest})})
            queue.finish(record, report)
            done += 1
        return done

    return work


def send(client, image, path="/purify", headers=WAIT, **fields):
    fields.setdefault("metrics", "brisque" if path == "/score" else "")
    fields.setdefault("defense", "jpeg")
    return client.post(path, files={"image": image}, data=fields, headers=headers)


def test_the_same_order_again_is_a_new_job_that_is_finished_with_the_same_image(
    idle_client, played, photo_png, settings
):
    first = send(idle_client, photo_png)
    assert first.status_code == 202
    assert played() == 1
    second = send(idle_client, photo_png)
    assert second.status_code == 200
    job, old = second.json(), idle_client.get(first.headers["location"]).json()
    assert job["id"] != old["id"]
    assert (job["status"], job["progress"]) == ("finished", 1)
    assert set(job["timings_ms"]) == {"queued", "total"}, "no step was done"
    image, before = (idle_client.get(one["result"]["image_url"]) for one in (job, old))
    assert image.content == before.content
    assert image.headers["etag"] == before.headers["etag"]
    names = list(settings.data_dir.rglob("output"))
    assert len({path.stat().st_ino for path in names}) == 1, "the bytes are there once"
    assert played() == 0


def test_without_waiting_it_is_202_as_ever_and_its_events_are_complete(idle_client, played, photo_png):
    send(idle_client, photo_png)
    played()
    answer = send(idle_client, photo_png, headers={})
    assert answer.status_code == 202
    assert answer.json()["status"] == "finished"
    assert "retry-after" not in answer.headers
    events = idle_client.get(answer.json()["links"]["events"]).text
    assert [line for line in events.splitlines() if line.startswith("event")] == ["event: queued", "event: finished"]


def test_an_image_is_answered_at_once_to_who_accepts_it(idle_client, played, photo_png):
    send(idle_client, photo_png)
    played()
    answer = send(idle_client, photo_png, headers={**WAIT, "Accept": "image/png"})
    assert answer.status_code == 200
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    unasked = send(idle_client, photo_png, headers={"Accept": "image/png"})
    assert (unasked.status_code, unasked.json()["status"]) == (202, "finished"), "who does not wait follows the job"


def test_scores_are_given_again(idle_client, played, photo_png):
    send(idle_client, photo_png, "/score")
    played()
    first, second = send(idle_client, photo_png, "/score").json(), send(idle_client, photo_png, "/score").json()
    assert first["result"] == second["result"]
    assert first["result"]["scores"][0]["metric"] == "brisque"


@pytest.mark.parametrize("change", [
    {"defense": '{"name": "jpeg", "quality": 51}'}, {"defense": "flip"}, {"format": "webp"}, {"metrics": "brisque"},
    {"path": "/score"}, {"headers": {**WAIT, "Cache-Control": "no-cache"}},
    {"headers": [*WAIT.items(), ("Cache-Control", "max-age=0"), ("Cache-Control", "No-Store")]},
])  # fmt: skip
def test_whatever_could_change_the_answer_is_computed(idle_client, played, photo_png, change):
    send(idle_client, photo_png)
    played()
    assert send(idle_client, photo_png, **change).status_code == 202


def test_other_bytes_of_the_same_picture_are_computed(idle_client, played, photo_png, photo_jpeg):
    send(idle_client, photo_png)
    played()
    assert send(idle_client, photo_jpeg).status_code == 202


def test_a_random_defense_is_given_again_only_for_the_same_seed(idle_client, played, photo_png):
    send(idle_client, photo_png, defense="random-noise", seed=0)
    played()
    assert send(idle_client, photo_png, defense="random-noise", seed=0).status_code == 200
    assert send(idle_client, photo_png, defense="random-noise", seed=6).status_code == 202
    assert send(idle_client, photo_png, defense="random-noise").status_code == 202


def test_a_seed_makes_no_difference_where_nothing_is_random_but_is_told(idle_client, played, photo_png):
    send(idle_client, photo_png, seed=1)
    played()
    answer = send(idle_client, photo_png, seed=2)
    assert answer.status_code == 200
    assert answer.json()["seed"] == 2


def test_another_implementation_is_computed(idle_client, played, photo_png, monkeypatch):
    send(idle_client, photo_png)
    played()
    monkeypatch.setattr(answers_module, "implementation", lambda: "a changed defense")
    assert send(idle_client, photo_png).status_code == 202


def test_other_weights_precision_device_or_version_of_a_metric_are_computed(
    idle_client, played, photo_png, settings, monkeypatch
):
    send(idle_client, photo_png, "/score")
    played()
    assert send(idle_client, photo_png, "/score").status_code == 200
    for change in ({"precision": "bfloat16"}, {"device": "cpu"}):
        with TestClient(create_app(settings.model_copy(update=change))) as other:
            assert send(other, photo_png, "/score").status_code == 202, change
    for name, other in (
        ("_added_weights", lambda: [("adm-256", "a digest")]),
        ("find_metric", lambda _: SimpleNamespace(card=SimpleNamespace(version="another"))),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(answers_module, name, other)
            assert send(idle_client, photo_png, "/score").status_code == 202, name


def test_weights_that_are_half_written_or_just_gone_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path))
    for name in ("thing", ".thing.4f"):
        (tmp_path / "purifiqa" / name).mkdir(parents=True)
        (tmp_path / "purifiqa" / name / "facts.json").write_text("{}")
    assert [name for name, _ in answers_module._added_weights()] == ["thing"]
    monkeypatch.setattr(answers_module.checkpoints, "names", lambda: ["gone", "thing"])
    assert [name for name, _ in answers_module._added_weights()] == ["thing"]


def test_the_implementation_is_that_of_the_code_and_the_weights_that_ship():
    assert len(answers_module.implementation()) == 64


def test_the_implementation_is_that_of_orders_reports_and_what_is_between_them(monkeypatch):
    looked_at = []
    monkeypatch.setattr(answers_module.checkpoints, "digest", lambda file: looked_at.append(file.name) or "")
    answers_module.implementation.__wrapped__()
    assert {"orders.py", "jobs.py", "together.py", "attacking.py", "reports.py", "attack_alone.py"} <= set(looked_at)
    assert "model.safetensors" in looked_at


@pytest.mark.parametrize("damage", ["changed", "gone", "erased", "expired"])
def test_a_damaged_or_erased_answer_is_computed(idle_client, played, photo_png, settings, broker, damage):
    job = send(idle_client, photo_png).json()
    played()
    output = idle_client.app.state.services.store.path(job["id"], "output")
    if damage == "changed":
        output.write_bytes(b"something else")
    elif damage == "gone":
        output.unlink()
    elif damage == "erased":
        assert idle_client.delete(job["links"]["self"]).status_code == 204
        assert not broker.keys("purifiqa:answer:*")
    else:
        broker.delete(f"purifiqa:job:{job['id']}")
    answer = send(idle_client, photo_png)
    assert answer.status_code == 202
    folder = idle_client.app.state.services.store.path(answer.json()["id"], "output").parent
    assert {path.name for path in folder.iterdir()} == {"input", "manifest"}


def test_an_answer_outlives_the_job_that_it_came_from(idle_client, played, photo_png):
    first = send(idle_client, photo_png)
    played()
    second = send(idle_client, photo_png).json()
    idle_client.delete(first.headers["location"])
    assert idle_client.get(second["result"]["image_url"]).status_code == 200
    assert send(idle_client, photo_png).status_code == 200


def test_an_answer_ends_with_its_result(idle_client, played, photo_png, broker, settings):
    send(idle_client, photo_png)
    played()
    [key] = broker.keys("purifiqa:answer:*")
    assert 0 < broker.ttl(key) <= settings.result_ttl
    job = send(idle_client, photo_png).json()
    for kind in ("job", "events"):
        assert 0 < broker.ttl(f"purifiqa:{kind}:{job['id']}") <= settings.result_ttl
    assert not broker.exists("purifiqa:open"), "no job counts as one that has not ended"


def test_a_webhook_is_due_at_once_where_the_answer_was_in_the_store(
    idle_client, played, photo_png, broker, monkeypatch
):
    monkeypatch.setattr("app.submission.chosen_webhook", lambda url, _: url)
    send(idle_client, photo_png)
    played()
    job = send(idle_client, photo_png, webhook="https://example.org/hook").json()
    assert job["status"] == "finished"
    assert broker.zscore("purifiqa:webhooks", job["id"]) == pytest.approx(time.time(), abs=60)


def test_a_failed_or_canceled_job_is_no_answer(idle_client, photo_png):
    job = send(idle_client, photo_png).json()
    idle_client.post(job["links"]["cancel"])
    assert send(idle_client, photo_png).status_code == 202


def test_the_operator_can_turn_it_off(idle_client, played, photo_png, settings):
    send(idle_client, photo_png)
    played()
    with TestClient(create_app(settings.model_copy(update={"reuse_results": False}))) as other:
        assert send(other, photo_png).status_code == 202


def test_one_owners_answer_is_no_oracle_for_another(guarded, keys, photo_png):
    services = guarded.app.state.services
    alice, bob = ({**WAIT, **keys[name]} for name in ("alice", "bob"))
    job = send(guarded, photo_png, "/score", headers=alice).json()
    record = services.queue.ledger.start(job["id"])
    services.queue.finish(record, execute(record.order, services.store.read(job["id"], "input"))[0])
    assert send(guarded, photo_png, "/score", headers=bob).status_code == 202
    assert send(guarded, photo_png, "/score", headers=alice).status_code == 200


def test_a_real_worker_makes_answers_that_are_given_again(client, order):
    headers = {"Prefer": "wait=30"}
    first = order(defense='{"name": "jpeg", "quality": 33}', headers=headers).json()
    again = order(defense='{"name": "jpeg", "quality": 33}', headers=WAIT)
    assert first["status"] == "finished"
    assert again.status_code == 200
    assert again.json()["result"]["scores"] == first["result"]["scores"]
