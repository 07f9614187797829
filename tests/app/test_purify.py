"""`POST /purify` from outside: a photo in, a purified photo and its job document out."""

import hashlib

import cv2
import numpy as np
import pytest

from models.availability import AVAILABLE
from models.defenses import DEFENSES
from models.defenses.restore import Restore
from models.noise import MAX_SEED

WAIT = {"Prefer": "wait=30"}
ANEW = {"Cache-Control": "no-cache"}


def pixels(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_an_order_is_accepted_with_a_place_to_follow_it(client, order, finish):
    answer = order(defense="flip", headers=ANEW)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == job["links"]["self"] == f"/jobs/{job['id']}"
    assert answer.headers["retry-after"] == "1"
    assert job["status"] == "queued"
    assert job["result"] is None
    assert job["error"] is None
    done = finish(answer)
    assert done["status"] == "finished"
    assert done["progress"] == 1
    assert client.get(done["result"]["image_url"]).headers["content-type"] == "image/png"


def test_the_job_document_has_the_promised_shape(order, photo):
    job = order(defense='{"name": "flip", "axis": "vertical"}', seed=7, headers={**WAIT, **ANEW}).json()
    assert set(job) == {
        "id", "kind", "status", "progress", "position", "defense", "seed", "image", "result", "error", "timings_ms",
        "links",
    }  # fmt: skip
    assert job["position"] is None
    assert job["kind"] == "purify"
    assert job["defense"] == {"name": "flip", "axis": "vertical"}
    assert job["seed"] == 7
    assert (job["image"]["height"], job["image"]["width"]) == photo.shape[:2]
    assert set(job["result"]) == {"image_url", "scores"}
    assert {"queued", "decode", "purify", "encode", "total"} <= set(job["timings_ms"])


def test_who_waits_gets_the_finished_job_and_is_told_so(order):
    answer = order(defense="none", headers=WAIT)
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert {"Accept", "Prefer"} <= {one.strip() for one in answer.headers["vary"].split(",")}
    assert answer.json()["status"] == "finished"


def test_the_purified_image_is_what_the_defense_makes_of_the_photo(client, order, photo):
    job = order(defense="flip", headers=WAIT).json()
    purified = pixels(client.get(job["result"]["image_url"]).content)
    assert np.array_equal(purified, photo[::-1, ::-1])


@pytest.mark.parametrize(("accept", "kind"), [
    ("image/png", "image/png"), ("image/webp", "image/webp"), ("image/jpeg", "image/jpeg"), ("image/*", "image/png"),
    ("image/webp;q=0.9, image/png;q=0.1", "image/webp"), ("text/html, image/png;q=0.5", "image/png"),
])  # fmt: skip
def test_who_waits_and_accepts_an_image_gets_its_bytes(order, photo, accept, kind):
    answer = order(defense="none", headers={**WAIT, "Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    difference = np.abs(pixels(answer.content).astype(int) - photo).mean()
    assert difference == 0 if kind != "image/jpeg" else difference < 3


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, image/png;q=0.5", None])
def test_json_is_the_default_form(order, accept):
    answer = order(defense="none", headers={**WAIT, **({"Accept": accept} if accept else {})})
    assert answer.headers["content-type"] == "application/json"


def test_an_image_that_is_not_there_in_time_or_never_is_a_job_by_status_and_type(order, idle_client, photo_png):
    wish = {"Prefer": "wait=1", "Accept": "image/png"}
    late = idle_client.post("/purify", files={"image": photo_png}, data={"metrics": ""}, headers=wish)
    flat = cv2.imencode(".png", np.full((100, 100, 3), 90, np.uint8))[1].tobytes()
    failed = order(image=flat, metrics="niqe", defense="none", headers={**wish, "Prefer": "wait=30"})
    for answer, status, state in ((late, 202, "queued"), (failed, 200, "failed")):
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        assert (answer.json()["status"], answer.headers["location"]) == (state, answer.json()["links"]["self"])


def test_the_format_field_decides_the_file_and_must_agree_with_accept(client, order):
    job = order(defense="none", format="webp", headers=WAIT).json()
    assert client.get(job["result"]["image_url"]).headers["content-type"] == "image/webp"
    assert order(format="webp", headers={"Accept": "image/png"}).status_code == 406


@pytest.mark.parametrize("accept", ["text/html", "garbage", "image/tiff"])
def test_a_form_of_answer_we_do_not_have_is_refused_before_anything_is_done(order, accept):
    answer = order(headers={"Accept": accept})
    assert answer.status_code == 406
    assert "image/png" in answer.json()["detail"]


def test_the_case_of_what_is_accepted_does_not_matter(idle_client, photo_png):
    for accept, status in (("IMAGE/PNG", 202), ("Application/JSON", 202), ("image/png;Q=0, Text/HTML", 406)):
        answer = idle_client.post("/purify", files={"image": photo_png}, headers={"Accept": accept})
        assert answer.status_code == status, accept


@pytest.mark.parametrize("accept", [["text/html", "application/json"], [""]])
def test_what_is_accepted_may_be_said_in_several_lines_or_left_empty(idle_client, photo_png, accept):
    headers = [("Accept", one) for one in accept]
    assert idle_client.post("/purify", files={"image": photo_png}, headers=headers).status_code == 202


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "wait=soon", "wait=-1", "return=minimal", ""])
def test_a_preference_that_is_no_waiting_answers_at_once(idle_client, photo_png, prefer):
    files, headers = {"image": ("photo.png", photo_png)}, {"Prefer": prefer}
    assert idle_client.post("/purify", files=files, data={"defense": "none"}, headers=headers).status_code == 202


@pytest.mark.parametrize("sent", [
    ["wait=0"], ["Wait=0"], ['wait = "0"'], ["respond-async; x=1, wait=0"], ["respond-async", "wait=0"],
])  # fmt: skip
def test_waiting_is_asked_for_in_every_form_that_the_header_may_have(idle_client, photo_png, sent):
    headers = [("Prefer", one) for one in sent]
    answer = idle_client.post("/purify", files={"image": photo_png}, data={"metrics": ""}, headers=headers)
    assert answer.headers["preference-applied"] == "wait=0"


def test_waiting_is_capped_and_the_cap_is_told(idle_client, photo_png):
    idle_client.app.state.services.settings.__dict__["max_wait"] = 1
    answer = idle_client.post(
        "/purify", files={"image": photo_png}, data={"metrics": ""}, headers={"Prefer": "respond-async, wait=500"}
    )
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others(order):
    def noisy(seed):
        headers = {**WAIT, **ANEW, "Accept": "image/png"}
        return order(defense="random-noise", seed=seed, headers=headers).content

    assert noisy(5) == noisy(5)
    assert noisy(5) != noisy(6)


def test_without_a_seed_a_fresh_one_is_drawn_and_told(order):
    seeds = {order(defense="random-noise", headers=WAIT).json()["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


@pytest.mark.parametrize(
    "name", [name for name, kind in DEFENSES.items() if name != "chain" and kind().availability().available]
)
def test_every_defense_goes_through_the_service_with_its_defaults(client, order, name):
    job = order(defense=name, seed=1, headers=WAIT).json()
    assert job["status"] == "finished", job["error"]
    assert job["defense"] == DEFENSES[name]().model_dump(mode="json")
    assert pixels(client.get(job["result"]["image_url"]).content).ndim == 3


def test_a_chain_of_defenses_goes_through_the_service(order):
    chain = '{"name": "chain", "steps": [{"name": "jpeg", "quality": 60}, {"name": "flip"}]}'
    job = order(defense=chain, headers=WAIT).json()
    assert job["status"] == "finished"
    assert [step["name"] for step in job["defense"]["steps"]] == ["jpeg", "flip"]


def test_metrics_give_scores_before_and_after(order):
    pytest.importorskip("pyiqa")
    job = order(defense="gaussian-blur", metrics="entropy", headers=WAIT).json()
    [score] = job["result"]["scores"]
    assert score["metric"] == "entropy"
    assert score["shift"] == pytest.approx(score["defended"] - score["original"])
    assert score["samples"] == 1
    assert score["range"] == [0, 8]
    assert score["higher_is_better"] is True
    assert score["version"].startswith("pyiqa ")


@pytest.mark.parametrize(("sent", "status"), [({"format": "webp"}, 422), ({}, 422), ({"format": "png"}, 202)])
def test_a_result_too_long_for_its_format_is_refused_before_the_job(idle_client, monkeypatch, sent, status):
    monkeypatch.setattr(Restore, "availability", lambda _: AVAILABLE)
    long = cv2.imencode(".png", np.zeros((16, 5000, 3), np.uint8))[1].tobytes()
    fields = {"defense": '{"name": "restore", "network": "any", "outscale": 4}', "metrics": "", **sent}
    accept = {"Accept": "image/webp, image/png"} if "format" in sent else {"Accept": "image/webp"}
    answer = idle_client.post("/purify", files={"image": long}, data=fields, headers=accept)
    assert answer.status_code == status, answer.text
    if status == 422:
        [wrong] = answer.json()["errors"]
        assert (wrong["field"], wrong["code"]) == ("format", "result-too-large")
        assert (wrong["limit"], wrong["actual"]) == (16_383, 20_000)
