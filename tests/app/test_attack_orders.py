"""`POST /attack` from outside: off unless turned on, and then an order like any other."""

import re

import cv2
import numpy as np
import pytest
import torch
from problems import problem

from models.attack_alone import attack_alone
from models.attacks import ATTACKS, ORDERABLE, parse_attack
from models.defenses import parse_defense
from models.images import ImageLimits, decode
from models.metrics import find_metric

WAIT = {"Prefer": "wait=60"}
SQUARE = '{"name": "square", "queries": 8}'


@pytest.fixture
def attack(attacking, photo_png):
    """Order an attack on a good photo, unless another is given."""

    def send(attack="ifgsm", metric="fr-surrogate", image=photo_png, headers=WAIT, client=attacking, **fields):
        images = [("image", one) for one in (image if isinstance(image, list) else [image])]
        return client.post(
            "/attack", files=images, data={"attack": attack, "metric": metric, **fields}, headers=headers
        )

    return send


def test_attacks_are_off_unless_the_operator_turns_them_on_and_the_problem_says_how(client, attack):
    for answer in (attack(client=client), client.get("/attacks")):
        assert "PURIFIQA_ATTACKS=true" in problem(answer, 403, "attacks-off")["detail"]


def test_who_has_no_key_is_asked_for_one_before_anything_is_told_of_attacks(guarded, keys, attack):
    problem(attack(client=guarded), 401, "key-missing")
    problem(attack(client=guarded, headers=keys["reader"]), 403, "scope-missing")
    problem(attack(client=guarded, headers=keys["alice"]), 403, "attacks-off")


def test_an_attack_is_its_keys_own_and_counts_among_its_jobs(open_client, keys, attack):
    client = open_client(attacks=True, max_in_flight=1)
    place = attack(client=client, headers=keys["alice"]).headers["location"]
    problem(attack(client=client, headers=keys["alice"]), 429, "too-many-jobs")
    problem(client.get(place, headers=keys["bob"]), 404, "job-unknown")
    assert client.get(place, headers=keys["alice"]).json()["status"] == "queued"
    assert attack(client=client, headers=keys["bob"]).status_code == 202


@pytest.mark.parametrize("defense", [None, "flip", '{"name": "random-noise", "sigma": 0.02}'])
def test_the_attacked_image_is_the_one_that_this_process_makes(attacking, attack, photo_png, defense):
    fields = {} if defense is None else {"defense": defense}
    job = attack(seed=7, **fields).json()
    image, metric = decode(photo_png, ImageLimits())[0], find_metric("fr-surrogate")
    through = None if defense is None else parse_defense(defense)
    done, file, facts = attack_alone(parse_attack("ifgsm"), image, metric, through, 7)
    assert attacking.get(job["result"]["image_url"]).content == file
    told = job["result"]["attack"]
    assert [told[name] for name in ("queries", "linf", "first_slope")] == [
        facts.queries, facts.linf, facts.first_slope,
    ]  # fmt: skip
    with torch.no_grad():
        clean, attacked = (metric(one).item() for one in (image, done.images))
    assert (told["clean"], told["attacked"]) == (clean, attacked)
    assert told["version"] == metric.card.version
    assert told["budget"] == 10
    assert (told["defended_clean"] is None) == (through is None)
    before, after = (clean, attacked) if through is None else (told["defended_clean"], told["defended_attacked"])
    assert told["gained"] == pytest.approx(after - before)
    assert told["gained"] > 0


def test_the_job_document_tells_the_attack_and_no_defense_that_nobody_named(attack):
    job = attack(headers={**WAIT, "Cache-Control": "no-cache"}).json()
    assert job["kind"] == "attack"
    assert job["attack"] == parse_attack("ifgsm").model_dump(mode="json")
    assert job["defense"] is None, "least of all the default"
    assert job["result"]["scores"] == [], "an attacked score is not a defended one"
    assert {"attack", "score", "decode"} <= set(job["timings_ms"])
    assert attack(defense="flip").json()["defense"]["name"] == "flip"


def test_the_answer_may_be_the_image_itself_always_lossless(attack, photo):
    answer = attack(headers={**WAIT, "Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    attacked = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(attacked.astype(int) - photo).max() == 10
    problem(attack(headers={"Accept": "image/jpeg"}), 406, "not-acceptable")


def test_a_black_box_attack_takes_a_metric_without_gradients_and_a_white_box_one_does_not(attack):
    assert attack(SQUARE, "piqe").json()["result"]["attack"]["queries"] == 8
    wrong = problem(attack("ifgsm", "piqe"), 422, "no-gradient")
    assert "ifgsm needs gradients, and piqe has none" in wrong["detail"]
    assert wrong["errors"][0]["field"] == "metric"


@pytest.mark.parametrize(
    ("fields", "status", "code", "field", "suggestion"),
    [
        ({"attack": "ifgms"}, 422, "unknown-attack", "attack", "ifgsm"),
        ({"attack": "uapp"}, 422, "unknown-attack", "attack", None),
        ({"attack": '{"name": "ifgsm", "epsilon": 400}'}, 422, "invalid-request", "attack.epsilon", None),
        ({"attack": '{"name": "ifgsm", "epsilom": 4}'}, 422, "invalid-request", "attack.epsilom", "epsilon"),
        ({"attack": '{"name": '}, 422, "invalid-attack", "attack", None),
        ({"attack": '{"name": "ifgsm", "both": true}'}, 422, "missing", "defense", None),
        ({"attack": "zhang-lpips"}, 409, "attack-unavailable", "attack", None),
        ({"metric": "fr-surogate"}, 422, "unknown-metric", "metric", "fr-surrogate"),
        ({"metric": "musiq"}, 409, "metric-unavailable", "metric", None),
        ({"metric": "fr-surrogate,metaiqa"}, 422, "too-many", "metric", None),
        ({"metric": ""}, 422, "missing", "metric", None),
        ({"defense": "jpg"}, 422, "unknown-defense", "defense", "jpeg"),
        ({"defense": "mprnet"}, 409, "defense-unavailable", "defense", None),
        (
            {"metric": "niqe", "defense": '{"name": "resize", "scale": 0.5}'},
            422,
            "image-size-unsuitable",
            "metric",
            None,
        ),
        ({"attack": '{"name": "nes", "queries": 1000000}'}, 422, "too-much-work", "attack", None),
        ({"metrics": "niqe"}, 422, "unknown-field", "metrics", "metric"),
        ({"format": "webp"}, 422, "unknown-field", "format", None),
    ],
)
def test_what_is_wrong_is_named(attack, fields, status, code, field, suggestion, monkeypatch, tmp_path):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path))
    if fields.get("metric") == "musiq":
        pytest.importorskip("pyiqa")
    wrong = problem(attack(**fields), status, code)["errors"][0]
    assert (wrong["field"], wrong.get("suggestion")) == (field, suggestion)


def test_what_has_to_be_named_is_missing(attacking, photo_png):
    answer = attacking.post("/attack", files={"image": photo_png}, data={"seed": "1"})
    assert {one["field"] for one in problem(answer, 422, "invalid-request")["errors"]} == {"attack", "metric"}


def test_no_request_names_a_file_of_the_server(attack, attacking, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("models.attacks.uap.load", opened.append)
    (tmp_path / "pattern.safetensors").write_bytes(b"here")
    for file in (tmp_path / "pattern.safetensors", "/etc/passwd", ""):
        answer = attack(f'{{"name": "uap", "file": "{file}"}}')
        assert "purifiqa attack" in problem(answer, 422, "attack-not-orderable")["detail"]
    assert opened == []
    assert "uap" not in [entry["name"] for entry in attacking.get("/attacks").json()]


def test_every_attack_that_can_be_ordered_is_listed_with_the_schema_that_accepts_it(attacking):
    listed = {entry["name"]: entry for entry in attacking.get("/attacks").json()}
    assert list(listed) == [name for name in ATTACKS if name != "uap"] == list(ORDERABLE)
    for name, entry in listed.items():
        assert entry["parameters"]["properties"]["name"]["const"] == name
        assert entry["availability"]["available"] or entry["availability"]["cure"]


def test_the_openapi_page_describes_the_form_and_every_attack(client):
    document = client.get("/openapi.json").json()
    described = document["paths"]["/attack"]["post"]
    form = described["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["image", "attack", "metric"]
    assert set(form["properties"]) == {"image", "attack", "metric", "defense", "seed", "webhook"}
    names, line, reference = form["properties"]["attack"]["anyOf"]
    assert names["enum"] == list(ORDERABLE)
    assert re.search(line["pattern"], "ifgsm(epsilon=4)")
    union = document["components"]["schemas"][reference["$ref"].rpartition("/")[2]]
    assert set(union["discriminator"]["mapping"]) == set(ORDERABLE)
    assert set(described["responses"]["200"]["content"]) == {"image/png", "application/json"}
    assert "403" in described["responses"]


def test_the_same_request_is_the_same_job_however_its_attack_is_spaced(attack):
    key = {**WAIT, "Idempotency-Key": "attack-once"}
    first = attack('{"name": "ifgsm", "iterations": 2}', headers=key)
    again = attack('{"iterations":2,"name":"ifgsm"}', headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    problem(attack("fgsm", headers=key), 422, "idempotency-key-reused")


def test_an_identical_order_is_answered_from_the_store_and_one_on_another_metric_is_not(attack):
    first, again = (attack("fgsm", seed=3).json() for _ in range(2))
    assert "attack" not in again["timings_ms"]
    assert again["result"]["attack"] == first["result"]["attack"]
    assert "attack" in attack("fgsm", "niqe", seed=3).json()["timings_ms"]


def test_several_images_are_a_batch_in_which_each_has_its_own_fate(attack, photo_png, photo_jpeg):
    batch = attack("fgsm", image=[photo_png, b"no picture", photo_jpeg], seed=1).json()
    assert batch["kind"] == "attack"
    assert [item["status"] for item in batch["items"]] == ["finished", "failed", "finished"]
    assert batch["items"][0]["job"]["result"]["attack"]["linf"] == 10


def test_a_running_attack_tells_how_far_it_is_and_is_canceled(attacking, attack):
    job = attack('{"name": "square", "queries": 10000}', "niqe", headers={}).json()
    place = job["links"]["self"]
    with attacking.stream("GET", job["links"]["events"]) as events:
        for line in events.iter_lines():
            if line == "event: progress":
                assert attacking.post(f"{place}/cancel").json()["status"] == "canceled"
                break
        else:
            pytest.fail("it ended without having told how far it was")
    assert attacking.get(place).json()["status"] == "canceled"
    assert attack("fgsm").json()["status"] == "finished", "the worker goes on with the next"
