"""What a browser is told, and what a page elsewhere can do: nothing, unless it is on the list."""

import pytest
from problems import problem

from app.guard.headers import page_policy
from app.settings import Settings

ORIGIN = "https://lab.example.org"


@pytest.mark.parametrize("path", ["/livez", "/defenses", "/jobs/x", "/nothing", "/openapi.json", "/metrics"])
def test_every_answer_forbids_what_an_api_does_not_need(idle_client, path):
    headers = idle_client.get(path, follow_redirects=False).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def test_an_unexpected_failure_is_a_problem_that_tells_nothing_and_is_not_kept(idle_client, submit, monkeypatch):
    monkeypatch.setattr(type(idle_client.app.state.services.queue), "depth", lambda _: 1 / 0)
    answer = submit(idle_client)
    problem(answer, 500, "internal-error")
    assert "zero" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_the_documentation_page_may_run_its_own_scripts_and_no_others(idle_client):
    answer = idle_client.get("/docs")
    policy = answer.headers["content-security-policy"]
    assert answer.text.count("<script") == policy.count("'sha256-") + answer.text.count("<script src")
    assert policy == page_policy(answer.content)
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    assert page_policy(answer.content.replace(b"</body>", b"<script>evil()</script>")) != policy


def test_a_page_elsewhere_cannot_use_the_service(idle_client, submit):
    problem(submit(idle_client, {"Origin": ORIGIN}), 403, "origin-not-allowed")
    problem(submit(idle_client, {"Origin": "null"}), 403, "origin-not-allowed")
    for own in ("http://testserver", "https://testserver"):
        assert submit(idle_client, {"Origin": own}).status_code == 202, "also where a proxy ends the TLS"
    problem(idle_client.delete("/jobs/x", headers={"Origin": ORIGIN}), 403, "origin-not-allowed")
    assert idle_client.get("/jobs", headers={"Origin": ORIGIN}).status_code == 200, "reading is the browser's to keep"
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in idle_client.options("/purify", headers=preflight).headers


def test_a_page_from_another_port_of_the_same_machine_is_one_from_elsewhere(idle_client, submit):
    here = {"Host": "localhost:8000"}
    assert submit(idle_client, {**here, "Origin": "http://localhost:8000"}).status_code == 202
    for other in ("http://localhost", "http://localhost:3000"):
        problem(submit(idle_client, {**here, "Origin": other}), 403, "origin-not-allowed")


def test_only_listed_origins_are_let_in_and_never_with_cookies(open_client, submit):
    client = open_client(cors_origins=f"{ORIGIN}, http://localhost:3000")
    answer = submit(client, {"Origin": ORIGIN})
    assert answer.status_code == 202
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    shown = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"Location", "Link", "Idempotency-Replayed", "X-Request-ID"} <= shown
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "authorization, idempotency-key, if-none-match, last-event-id, prefer, x-api-key",
    }
    allowed = client.options("/jobs/x", headers=asked)
    assert allowed.status_code == 200
    assert "DELETE" in allowed.headers["access-control-allow-methods"]
    for answer in (allowed, submit(client, {"Origin": ORIGIN})):
        assert "access-control-allow-credentials" not in answer.headers
    other = submit(client, {"Origin": "https://evil.example"})
    problem(other, 403, "origin-not-allowed")
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "origin", ["*", "lab.example.org", "https://lab.example.org/", "https://lab.example.org/x", "null", "https://"]
)
def test_what_is_no_origin_cannot_be_listed(origin):
    with pytest.raises(ValueError, match="is not an origin"):
        Settings(cors_origins=origin)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.notlocalhost",
        "[::1",
    ],
)
def test_a_name_that_a_stranger_could_point_here_is_not_answered(idle_client, host):
    problem(idle_client.get("/livez", headers={"Host": host}), 421, "host-not-allowed")


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "api:8000", "192.168.1.7", "x.localhost"]
)
def test_addresses_and_local_names_are_answered(idle_client, host):
    assert idle_client.get("/livez", headers={"Host": host}).status_code == 200


def test_further_names_can_be_allowed_and_with_keys_every_name_is_answered(open_client, keys):
    assert (
        open_client(auth="off", allowed_hosts="iqa.example.org")
        .get("/livez", headers={"Host": "iqa.example.org"})
        .status_code
        == 200
    )
    assert open_client().get("/livez", headers={"Host": "iqa.example.org"}).status_code == 200
