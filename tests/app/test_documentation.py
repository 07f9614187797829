"""What people see at `/docs`: its forms work as they stand, and it says something of everything."""

import pytest

FORM = "multipart/form-data"


def described(client, path):
    return client.get("/openapi.json").json()["paths"][path]["post"]


@pytest.mark.parametrize("path", ["/purify", "/score", "/attack"])
def test_the_form_that_the_page_begins_with_is_an_order_that_is_done(attacking, path, photo_png):
    operation = described(attacking, path)
    fields = operation["requestBody"]["content"][FORM]["schema"]["properties"]
    assert fields.pop("image")
    filled_in = {name: field.get("examples", [field.get("default")])[0] for name, field in fields.items()}
    headers = {one["name"]: one["example"] for one in operation["parameters"] if "example" in one}
    answer = attacking.post(path, files={"image": photo_png}, data=filled_in, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "finished"


@pytest.mark.parametrize("path", ["/purify", "/score", "/attack"])
def test_no_text_field_has_a_media_type_for_then_browsers_send_it_as_a_file(client, path):
    assert "encoding" not in described(client, path)["requestBody"]["content"][FORM]


def test_an_order_is_answered_with_its_document_unless_the_page_is_told_otherwise(client):
    assert next(iter(described(client, "/purify")["responses"]["200"]["content"])) == "application/json"


def test_the_form_and_the_headers_of_every_answer_are_described(client, order, finish, photo_png):
    described = client.get("/openapi.json").json()["paths"]
    waiting = {"Prefer": "wait=30"}
    job = finish(order(headers=waiting, defense="flip"))["links"]["self"]
    batch = client.post("/purify", files=[("image", photo_png)] * 2, data={"metrics": ""}).headers["location"]
    asked = [
        ("/jobs/{job_id}/image", client.get(f"{job}/image")),
        ("/jobs/{job_id}/image", client.get(f"{job}/image", headers={"If-None-Match": "*"})),
        ("/purify", order(headers=waiting, defense="flip")),
        ("/purify", order(headers={**waiting, "Accept": "image/png"}, defense="flip")),
        ("/jobs/{job_id}/image", client.get(order(defense="flip", seed="2").json()["links"]["self"] + "/image")),
        ("/jobs/{job_id}/events", client.get(f"{job}/events")),
        ("/metrics", client.get("/metrics")),
        ("/jobs/{job_id}", client.delete(job)),
        ("/batches/{batch_id}", client.delete(batch)),
    ]
    for path, answer in asked:
        told = described[path][answer.request.method.lower()]["responses"][str(answer.status_code)]
        form = answer.headers.get("content-type", "").partition(";")[0]
        assert not form or form in told["content"], (path, answer.status_code, form)
        is_text = told.get("content", {}).get(form, {}).get("schema", {"type": "string"}).get("type") == "string"
        assert form.endswith("json") or is_text, (path, form)
        known = {name.lower() for name in told["headers"]}
        sent = {"etag", "location", "retry-after", "preference-applied"}.intersection(answer.headers)
        assert sent <= known, (path, answer.status_code, sent - known)


def test_nothing_is_told_of_turns_where_none_are_taken(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert "429" in paths["/defenses"]["get"]["responses"]
    for path in ("/livez", "/readyz", "/metrics"):
        assert "429" not in paths[path]["get"]["responses"], path


def test_every_parameter_field_and_answer_is_described(client):
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for operation in operations.values():
            told = [*operation.get("parameters", []), *operation["responses"].values()]
            if "requestBody" in operation:
                told += operation["requestBody"]["content"][FORM]["schema"]["properties"].values()
            for one in told:
                assert one.get("description", "Successful Response") != "Successful Response", (path, one)
