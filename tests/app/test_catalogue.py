"""The catalogues, the OpenAPI page, health and Prometheus."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.defenses import DEFENSES

BRINGS_WEIGHTS = {"mprnet": "mprnet", "real-esrgan": "real-esrgan", "restore": "real-esrgan"}


def test_every_defense_is_listed_with_the_schema_that_accepts_it(client, tmp_path, monkeypatch):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path))
    listed = {entry["name"]: entry for entry in client.get("/defenses").json()}
    assert list(listed) == list(DEFENSES)
    for name, entry in listed.items():
        assert entry["summary"].endswith(".")
        assert entry["parameters"]["properties"]["name"]["const"] == name
        assert entry["parameters"]["additionalProperties"] is False
        assert entry["cost"] in ("cheap", "network", "diffusion")
        assert entry["availability"]["available"] is (name not in BRINGS_WEIGHTS)
        if name in BRINGS_WEIGHTS:
            cure = entry["availability"]["cure"]
            assert re.search(f"purifiqa weights (add|pull) {BRINGS_WEIGHTS[name]}", cure)


def test_every_metric_is_listed_with_range_license_and_cure(client):
    listed = {entry["name"]: entry for entry in client.get("/iqa-metrics").json()}
    assert listed["piqe"]["range"] == [0, 100]
    assert listed["piqe"]["license"]
    for entry in listed.values():
        usable = entry["availability"]
        assert usable["available"] or (usable["reason"] and usable["cure"])
    assert {name for name, entry in listed.items() if entry["default"]} == {"fr-surrogate", "piqe"}


def test_the_metrics_that_an_operator_made_the_default_are_told_under_the_names_of_the_list(open_client):
    listed = open_client(default_metrics="niqe, spaq").get("/iqa-metrics").json()
    assert [entry["name"] for entry in listed if entry["default"]] == ["niqe", "spaq-bl"]


def test_the_openapi_page_describes_forms_parameters_errors_and_binary_answers(client):
    document = client.get("/openapi.json").json()
    purify = document["paths"]["/purify"]["post"]
    form = purify["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["image"]
    assert set(form["properties"]) == {"image", "defense", "metrics", "seed", "format", "webhook"}
    names, line, reference = form["properties"]["defense"]["anyOf"]
    assert names["enum"] == list(DEFENSES)
    assert all(re.search(line["pattern"], text) for text in ("jpeg(quality=30)", "flip+jpeg"))
    schemas = document["components"]["schemas"]
    union = schemas[reference["$ref"].rpartition("/")[2]]
    mapping = union["discriminator"]["mapping"]
    assert set(mapping) == set(DEFENSES)
    for place in mapping.values():
        for parameter in schemas[place.rpartition("/")[2]]["properties"].values():
            assert parameter.get("description") or "const" in parameter
    assert {"image/png", "image/webp", "image/jpeg", "application/json"} <= set(purify["responses"]["200"]["content"])
    for status in ("413", "415", "422", "503", "507"):
        assert "application/problem+json" in purify["responses"][status]["content"]
    assert "image/png" in document["paths"]["/jobs/{job_id}/image"]["get"]["responses"]["200"]["content"]


def test_every_reference_in_the_openapi_page_exists(client):
    document = client.get("/openapi.json").json()

    def references(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    for reference in set(references(document)):
        _, _, kind, name = reference.split("/")
        assert name in document["components"][kind], reference


def test_the_documentation_page_needs_no_other_server(client):
    page = client.get("/docs").text
    assert "https://" not in page.replace("https://fastapi.tiangolo.com", "")
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def test_livez_depends_on_nothing_and_readyz_on_everything(client, idle_client):
    assert client.get("/readyz").json() == {"status": "ok"}
    assert idle_client.get("/livez").status_code == 200
    answer = idle_client.get("/readyz")
    assert answer.status_code == 503
    assert [error["field"] for error in answer.json()["errors"]] == ["workers"]


def test_readyz_names_a_broker_and_a_store_that_do_not_work(settings, tmp_path, monkeypatch):
    from starlette.testclient import TestClient

    from app.main import create_app
    from app.settings import Settings

    lost = Settings(redis_url="redis://127.0.0.1:1/0", data_dir=tmp_path / "lost")
    with TestClient(create_app(lost), raise_server_exceptions=False) as client:
        (tmp_path / "lost" / "incoming").rmdir()
        assert client.get("/livez").status_code == 200
        assert {error["field"] for error in client.get("/readyz").json()["errors"]} == {"redis", "store"}
        answer = client.get("/jobs/abc")
        assert (answer.status_code, answer.json()["code"]) == (503, "queue-unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert b"purifiqa_redis_up 0" in client.get("/metrics").content


def test_an_order_without_a_broker_is_refused_and_leaves_no_file(settings, tmp_path, photo_png):
    from starlette.testclient import TestClient

    from app.main import create_app
    from app.settings import Settings

    lost = Settings(redis_url="redis://127.0.0.1:1/0", data_dir=tmp_path / "lost")
    with TestClient(create_app(lost), raise_server_exceptions=False) as client:
        answer = client.post("/purify", files={"image": photo_png}, data={"metrics": ""})
    assert answer.status_code == 503
    assert not [path for path in (tmp_path / "lost").rglob("*") if path.is_file()]


def test_prometheus_counts_requests_by_route_and_jobs_by_outcome(client, order):
    order(defense="none", headers={"Prefer": "wait=30"})
    client.get("/jobs/nosuchjob")
    client.get("/secret/path")
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    routes = {sample.labels["route"] for sample in families["purifiqa_http_requests"].samples}
    assert {"/purify", "/jobs/{job_id}", "unmatched"} <= routes
    assert not any("nosuchjob" in route or "secret" in route for route in routes)
    assert sum(sample.value for sample in families["purifiqa_workers"].samples) == 1
    finished = [
        sample.value
        for sample in families["purifiqa_jobs"].samples
        if sample.labels == {"kind": "purify", "defense": "none", "outcome": "finished"}
    ]
    assert finished[0] >= 1


@pytest.mark.parametrize("name", DEFENSES)
def test_the_listed_schema_is_the_one_that_validates(client, name):
    listed = {entry["name"]: entry for entry in client.get("/defenses").json()}[name]
    assert listed["parameters"]["properties"] == DEFENSES[name].schema_of_parameters()["properties"]
    assert set(listed["parameters"]["properties"]) == set(DEFENSES[name].model_fields)
