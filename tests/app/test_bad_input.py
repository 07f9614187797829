"""What bad input gets: the right 4xx problem that names the field and the limit, and nothing left behind."""

import json
import os
import time

import cv2
import httpx2
import numpy as np
import psutil
import pytest
from hostile_files import ACCEPTED, HOSTILE
from starlette import formparsers

MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.fixture(autouse=True)
def nothing_is_left_behind(client, shared_service):
    """No job is accepted, no file is written, no key appears; what an earlier test left may go meanwhile."""

    def state():
        redis = client.app.state.services.queue.broker.connection
        keys = set(redis.scan_iter("purifiqa:job:*")) | set(redis.scan_iter("rq:job:*"))
        return keys | {path for path in shared_service.data_dir.rglob("*") if path.is_file()}

    before = state()
    yield
    deadline = time.monotonic() + 3  # RQ tidies up just after our record says that a job is finished
    while state() - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert state() - before == set()


def check_problem(answer, status, code=None, field=None):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert {"type", "title", "status", "detail", "code"} <= set(problem)
    assert code is None or problem["code"] == code
    if field is not None:
        assert field in [error["field"] for error in problem["errors"]]
    return problem


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_for_the_right_reason(order, name):
    build, status, code = HOSTILE[name]
    check_problem(order(image=build()), status, code, "image")


def test_bombs_do_not_grow_the_process(order):
    bombs = [HOSTILE[name][0]() for name in HOSTILE if "bomb" in name or "65535" in name]
    assert bombs
    process = psutil.Process(os.getpid())
    for bomb in bombs:
        order(image=bomb)
    before = process.memory_info().rss
    for bomb in bombs * 3:
        order(image=bomb)
    assert process.memory_info().rss - before < 30e6


def test_a_body_that_is_not_a_form_is_refused(client):
    check_problem(
        client.post("/purify", content=b"{}", headers={"Content-Type": "application/json"}), 415, "not-multipart"
    )
    check_problem(client.post("/purify"), 422, "missing", "image")
    check_problem(client.post("/purify", content=b"", headers=MULTIPART), 400, "bad-form")
    check_problem(client.post("/purify", content=b"garbage", headers=MULTIPART), 400, "bad-form")
    check_problem(
        client.post("/purify", content=b"x", headers={"Content-Type": "multipart/form-data"}), 400, "bad-form"
    )


def test_a_form_that_breaks_off_is_refused_and_not_done_without_its_last_field(client, photo_png):
    order = httpx2.Request("POST", "http://x/purify", files=[("image", photo_png), ("defense", (None, "jpeg"))])
    whole = order.read()
    for cut in (whole[:-9], whole[: whole.rindex(b"jpeg")]):
        answer = client.post("/purify", content=cut, headers={"Content-Type": order.headers["content-type"]})
        assert "ends before its final boundary" in check_problem(answer, 400, "bad-form")["detail"]


def test_every_file_of_a_form_that_is_refused_is_closed(client, photo_png, monkeypatch):
    files, real = [], formparsers.SpooledTemporaryFile
    monkeypatch.setattr(formparsers, "SpooledTemporaryFile", lambda **more: files.append(real(**more)) or files[-1])
    order = httpx2.Request("POST", "http://x/purify", files=[("defense", (None, "no")), *[("image", photo_png)] * 2])
    whole = order.read()
    for sent in (whole, whole[:-9], whole[:-99], whole.replace(b'"image"', b'"imago"')):
        client.post("/purify", content=sent, headers={"Content-Type": order.headers["content-type"]})
    assert len(files) == 8
    assert all(file.closed for file in files)


def test_a_form_in_a_charset_that_is_none_is_refused(client, photo_png):
    order = httpx2.Request("POST", "http://x/purify", files=[("image", photo_png), ("defense", (None, "jpeg"))])
    kind = f"{order.headers['content-type']}; charset=undefined"
    check_problem(client.post("/purify", content=order.read(), headers={"Content-Type": kind}), 400, "bad-form")


def test_a_form_without_an_image_or_with_text_in_its_place_is_refused(client, photo_png):
    for text in ("photo", photo_png * 100):
        answer = client.post("/purify", files={"image": (None, text)})
        assert "filename" in check_problem(answer, 422, "missing", "image")["detail"]
    check_problem(client.post("/purify", files={"seed": (None, "1")}), 422, "missing", "image")


def test_a_field_sent_twice_or_too_many_images_are_refused(client, photo_png, shared_service):
    files = [("image", ("a.png", photo_png)), ("seed", (None, "1")), ("seed", (None, "2"))]
    problem = check_problem(client.post("/purify", files=files), 422, "sent-twice", "seed")
    assert problem["errors"][0]["limit"] == 1
    most = shared_service.max_batch_images
    many = [("image", (f"{n}.png", photo_png)) for n in range(most + 1)]
    problem = check_problem(client.post("/purify", files=many), 422, "too-many", "image")
    assert (problem["errors"][0]["limit"], problem["errors"][0]["actual"]) == (most, f"more than {most}")
    assert check_problem(client.post("/purify", files=many * 2), 422, "too-many")["errors"] == problem["errors"]


def test_an_order_in_the_address_is_refused_and_not_done_with_the_default_defense(client, photo_png):
    answer = client.post("/purify?defense=jpeg", files={"image": photo_png})
    assert "as a form field" in check_problem(answer, 422, "not-in-the-form", "defense")["detail"]


def test_a_file_where_text_belongs_is_refused(client, photo_png):
    files = {"image": photo_png, "defense": ("defense.json", b"{}")}
    check_problem(client.post("/purify", files=files), 422, "not-text", "defense")


def test_a_misspelt_field_is_refused_with_the_closest_name(order):
    problem = check_problem(order(defence="jpeg"), 422, "unknown-field", "defence")
    assert problem["errors"][0]["suggestion"] == "defense"
    check_problem(order("/purify", samples=3), 422, "unknown-field", "samples")
    check_problem(order("/score", format="png"), 422, "unknown-field", "format")


@pytest.mark.parametrize(("defense", "field", "code", "hint"), [
    ("jpg", "defense", "unknown-defense", "jpeg"),
    ("", "defense", "unknown-defense", None),
    ("{", "defense", "invalid-defense", None),
    ("[]", "defense", "invalid-defense", None),
    ('"jpeg"', "defense", "invalid-defense", None),
    ("{}", "defense", "invalid-defense", None),
    ('{"name": "\\ud800"}', "defense", "unknown-defense", None),
    ('{"name": 5}', "defense", "invalid-defense", None),
    ('{"name": "jpeg", "qualty": 50}', "defense.qualty", "invalid-request", "quality"),
    ('{"name": "jpeg", "quality": 0}', "defense.quality", "invalid-request", None),
    ('{"name": "jpeg", "quality": 1000}', "defense.quality", "invalid-request", None),
    ('{"name": "jpeg", "quality": "high"}', "defense.quality", "invalid-request", None),
    ('{"name": "random-noise", "sigma": NaN}', "defense.sigma", "invalid-request", None),
    ('{"name": "random-noise", "sigma": Infinity}', "defense.sigma", "invalid-request", None),
    ('{"name": "random-noise", "sigma": 1e999}', "defense.sigma", "invalid-request", None),
    ('{"name": "chain", "steps": []}', "defense.steps", "invalid-request", None),
    ('{"name": "chain", "steps": [{"name": "jpeg", "qualty": 1}]}', "defense.steps.0.jpeg.qualty", "invalid-request", "quality"),
    ('{"name": "chain", "steps": [{"name": "jpge"}]}', "defense.steps.0", "invalid-request", "jpeg"),
    ('{"name": "chain", "steps": ["flip"]}', "defense.steps.0", "invalid-request", None),
    ("[" * 10_000, "defense", "invalid-defense", None),
    ('{"name": ' * 1_000, "defense", "invalid-defense", None),
])  # fmt: skip
def test_a_wrong_defense_is_refused_with_its_place_and_the_closest_name(order, defense, field, code, hint):
    problem = check_problem(order(defense=defense), 422, code, field)
    error = next(error for error in problem["errors"] if error["field"] == field)
    assert hint is None or error["suggestion"] == hint


def test_wrong_steps_of_a_chain_are_told_and_not_that_steps_are_missing(order):
    steps = [{"name": "jpeg", "quality": 0}, "flip", {"name": "flip"}]
    problem = check_problem(order(defense=json.dumps({"name": "chain", "steps": steps})), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["defense.steps.0.jpeg.quality", "defense.steps.1"]
    assert '{"name": "jpeg"}' in problem["errors"][1]["detail"]


def test_an_out_of_range_parameter_is_told_its_limit(order):
    problem = check_problem(order(defense='{"name": "jpeg", "quality": 101}'), 422)
    assert problem["errors"][0]["limit"] == 100


def test_what_a_check_of_ours_finds_is_told_in_its_own_words(order):
    problem = check_problem(order(defense='{"name": "median-blur", "kernel": 4}'), 422, "invalid-request")
    assert problem["errors"][0]["detail"] == "the side of a kernel must be odd"


@pytest.mark.parametrize("seed", ["-1", "1.5", "abc", "", "9007199254740992", "1e400", "NaN"])
def test_a_wrong_seed_is_refused(order, seed):
    check_problem(order(seed=seed), 422, "invalid-request", "seed")


@pytest.mark.parametrize(("path", "fields", "field"), [
    ("/score", {"samples": "0"}, "samples"),
    ("/score", {"samples": "33"}, "samples"),
    ("/purify", {"format": "gif"}, "format"),
])  # fmt: skip
def test_other_fields_out_of_bounds_are_refused(order, path, fields, field):
    check_problem(order(path, **fields), 422, "invalid-request", field)


def test_an_unknown_metric_is_refused_with_the_closest_name(order):
    problem = check_problem(order("/score", metrics="pique"), 422, "unknown-metric", "metrics")
    assert problem["errors"][0]["suggestion"] == "piqe"
    check_problem(order("/score", metrics=",".join(f"m{n}" for n in range(9))), 422, "too-many", "metrics")


def test_a_body_over_the_limit_is_refused_declared_or_chunked(client, shared_service):
    big = os.urandom(shared_service.max_bytes + 300_000)
    problem = check_problem(client.post("/purify", files={"image": big}), 413, "body-too-large", "body")
    assert problem["errors"][0]["limit"] > shared_service.max_bytes

    def chunks():
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        for start in range(0, len(big), 1 << 20):
            yield big[start : start + (1 << 20)]

    check_problem(client.post("/purify", content=chunks(), headers=MULTIPART), 413, "body-too-large")
    just_over = os.urandom(shared_service.max_bytes + 1)
    check_problem(client.post("/purify", files={"image": just_over}), 413, "image-too-large", "image")


def test_a_wrong_method_or_path_is_a_problem_too(client):
    answer = client.put("/purify")
    check_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    check_problem(client.get("/nothing/here"), 404, "not-found")
    check_problem(client.get("/purify"), 405)


@pytest.mark.parametrize("path", ["/jobs/", "/docs/", "/livez/"])
def test_a_slash_too_many_leads_nowhere_for_behind_a_proxy_it_would_lead_past_its_encryption(client, path):
    check_problem(client.get(path, follow_redirects=False), 404, "not-found")


@pytest.mark.parametrize(("path", "methods"), [
    ("/jobs/x", "DELETE, GET, HEAD"), ("/batches/x", "DELETE, GET, HEAD"), ("/jobs", "GET, HEAD"), ("/livez", "GET, HEAD"),
    ("/", "GET, HEAD"), ("/static-offline-docs/swagger-ui.css", "GET, HEAD"),
])  # fmt: skip
def test_a_path_tells_every_method_that_it_takes(client, path, methods):
    answer = client.put(path)
    assert check_problem(answer, 405, "method-not-allowed")["detail"] == f"This path supports {methods} only."
    assert answer.headers["allow"] == methods


def test_what_was_sent_is_not_echoed(order):
    answer = order(defense=json.dumps({"name": "jpeg", "quality": "s3cret" * 50}))
    assert "s3cret" not in answer.text


def test_what_was_sent_is_not_echoed_wherever_it_is(order):
    long = "x" * 9_000
    for defense in (
        {"name": "chain", "steps": [{"name": long}]},
        {"name": "chain", "steps": long},
        {"name": "jpeg", **{f"{long[:50]}{n}": 1 for n in range(150)}},
        {"name": long},
    ):
        assert len(order(defense=json.dumps(defense)).content) < 10_000


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\r\nX-Evil: 1", "\x00.png", "фото.png"])
def test_a_file_name_is_never_used(client, name):
    answer = client.post("/purify", files={"image": (name, b"not an image")})
    check_problem(answer, 415, "unsupported-image")
    assert "passwd" not in answer.text


def test_an_unexpected_error_is_a_problem_without_its_story(client, order, monkeypatch):
    monkeypatch.setattr("app.routes.purify.make_order", lambda *_: 1 / 0)
    problem = check_problem(order(), 500, "internal-error")
    assert "division" not in json.dumps(problem)


def test_a_full_store_is_507_and_nothing_is_accepted(client, order, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.link", full)
    check_problem(order(), 507, "store-full")


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_unusual_but_good_file_is_accepted_and_comes_back_clean(client, order, name):
    answer = order(image=ACCEPTED[name](), defense="none", headers={"Prefer": "wait=30", "Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    for trace in (b"PK\x03\x04", b"Exif", b"iCCP", b"eXIf", b"tEXt", b"<html"):
        assert trace not in answer.content
    assert client.delete(answer.headers["location"]).status_code == 204


def test_an_image_that_a_metric_cannot_take_is_refused_before_the_job_runs(order):
    pytest.importorskip("pyiqa")
    big = cv2.imencode(".png", np.zeros((1500, 1500, 3), np.uint8))[1].tobytes()  # entropy takes 2 KiB per pixel
    problem = check_problem(order("/score", image=big, metrics="entropy"), 422, "image-size-unsuitable", "metrics")
    assert "entropy" in problem["detail"]


def test_a_defense_without_its_weights_is_refused_before_the_job(order, tmp_path, monkeypatch):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path))
    answer = order("/purify", defense='{"name": "diffpure", "denoiser": "adm-256"}')
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["code"] == "defense-unavailable"
    assert "purifiqa weights pull adm-256" in answer.json()["errors"][0]["detail"]
