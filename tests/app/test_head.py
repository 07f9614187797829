"""HEAD tells what GET would tell, without the body."""

import anyio
import httpx2
import pytest

from app.head import HeadLikeGet

OWN = {"date", "x-request-id", "transfer-encoding"}


@pytest.fixture(scope="module")
def job(server, photo_png):
    """A job that has finished."""
    return httpx2.post(
        f"{server}/purify", files={"image": photo_png}, data={"defense": "flip", "metrics": ""},
        headers={"Prefer": "wait=30"}, timeout=40,
    ).json()  # fmt: skip


@pytest.mark.parametrize("path", [
    "/", "/docs", "/openapi.json", "/livez", "/readyz", "/defenses", "/iqa-metrics", "/jobs", "/jobs/unknown",
    "/static-offline-docs/swagger-ui.css", "self", "image", "events",
])  # fmt: skip
def test_head_is_answered_wherever_get_is_with_the_same_headers(server, job, path):
    place = server + job["links"].get(path, path)
    head, get = httpx2.head(place, timeout=30), httpx2.get(place, timeout=30)
    assert head.status_code == get.status_code
    assert head.content == b""
    told = [{name: value for name, value in answer.headers.items() if name not in OWN} for answer in (head, get)]
    assert told[0] == told[1]


def test_head_of_a_stream_does_not_wait_for_the_job_and_keeps_no_place(idle_client, photo_png):
    job = idle_client.post("/purify", files={"image": photo_png}, data={"metrics": ""}).json()
    answer = idle_client.head(job["links"]["events"])
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert idle_client.app.state.services.followers.borrowed_tokens == 0


def test_nothing_follows_the_first_piece_of_a_body_that_comes_in_pieces():
    sent = []

    async def in_pieces(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def send(message):
        sent.append(message)

    anyio.run(HeadLikeGet(in_pieces), {"type": "http", "method": "HEAD"}, None, send)
    assert sent[1:] == [{"type": "http.response.body", "body": b"one", "more_body": False}]


def test_head_is_counted_as_head_under_its_route(idle_client):
    idle_client.head("/defenses")
    assert 'purifiqa_http_requests_total{method="HEAD",route="/defenses",status="200"} 1.0' in (
        idle_client.get("/metrics").text
    )


def test_head_of_what_takes_no_get_is_refused(client):
    answer = client.head("/purify")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
