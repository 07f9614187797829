"""How much may be sent: counted over all that comes, declared or not, and exactly."""

import tempfile
import threading
import time
from http.client import HTTPConnection

import httpx2
import pytest
import torch
from conftest import served
from problems import problem

from app.body_limit import FORM_OVERHEAD
from app.main import create_app
from app.routes import purify as routes
from models.images import ImageFormat, encode

LIMIT = 1_000 + FORM_OVERHEAD
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
BEGIN = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'


@pytest.mark.parametrize("sent", [bytes(LIMIT), iter([bytes(LIMIT)])], ids=["declared", "chunked"])
def test_a_body_as_large_as_may_be_is_read(open_client, sent):
    answer = open_client(max_bytes=1_000).post("/purify", content=sent, headers=FORM)
    problem(answer, 400, "bad-form")  # so it was read


def test_an_image_needs_no_room_on_any_disk_but_the_stores(open_client, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    image = encode(torch.rand(1, 3, 700, 700), ImageFormat.PNG)
    assert len(image) > 2**20
    answer = open_client().post("/purify", files={"image": image}, data={"defense": "jpeg", "metrics": ""})
    assert answer.status_code == 202, answer.text


def test_what_comes_in_pieces_is_counted_together(settings):
    app = create_app(settings.model_copy(update={"max_bytes": 1_000}))
    pieces = iter([BEGIN, *[bytes(LIMIT // 2)] * 3])
    with served(app) as (port, _):
        answer = httpx2.post(f"http://127.0.0.1:{port}/purify", content=pieces, headers=FORM)
    problem(answer, 413, "body-too-large")


@pytest.mark.parametrize("sizes", [[1_001], [1_001, 9], [9, 1_001]])
def test_a_file_that_is_too_large_is_refused_wherever_it_stands(open_client, sizes):
    answer = open_client(max_bytes=1_000).post("/purify", files=[("image", bytes(size)) for size in sizes])
    assert problem(answer, 413, "image-too-large")["errors"][0]["actual"] == 1_001


def test_bodies_that_are_held_at_once_are_counted_together_until_they_are_gone(settings, photo_png):
    app = create_app(settings.model_copy(update={"max_receiving_bytes": 1_000_000}))
    with served(app) as (port, _):
        slow = HTTPConnection("127.0.0.1", port)
        slow.putrequest("POST", "/purify")
        for name, value in {**FORM, "Content-Length": "2000000"}.items():
            slow.putheader(name, value)
        slow.endheaders(BEGIN + bytes(999_000))

        def send():
            fields = {"defense": "none", "metrics": "", "webhook": " " * 50_000}
            return httpx2.post(f"http://127.0.0.1:{port}/purify", files={"image": photo_png}, data=fields)

        refused = _until(503, send)
        problem(refused, 503, "too-busy")
        assert refused.headers["retry-after"]
        assert httpx2.get(f"http://127.0.0.1:{port}/livez").status_code == 200
        slow.close()
        problem(_until(422, send), 422, "invalid-request")  # so it was read


def test_an_order_that_is_in_the_store_is_held_no_longer_while_its_sender_waits(settings, photo_png, monkeypatch):
    held, submit = [], routes.submit

    async def noted(request, services, caller, images, *more):
        held.append(images)
        return await submit(request, services, caller, images, *more)

    monkeypatch.setattr(routes, "submit", noted)
    app = create_app(settings.model_copy(update={"max_receiving_bytes": len(photo_png)}))
    with served(app) as (port, _):

        def send(**headers):
            fields = {"defense": "none", "metrics": ""}
            url = f"http://127.0.0.1:{port}/purify"
            return httpx2.post(url, files={"image": photo_png}, data=fields, headers=headers, timeout=30)

        waiting = threading.Thread(target=send, kwargs={"Prefer": "wait=10"})
        waiting.start()
        while app.state.services.queue.depth() == 0:
            time.sleep(0.02)
        assert _until(202, send).status_code == 202
        assert waiting.is_alive()
        assert held == [[], []]
        app.state.services.queue.broker.stop_waiting()
        waiting.join()


def _until(status, send):
    """Return the first answer with this status, or the one of five seconds later."""
    until = time.monotonic() + 5
    while (answer := send()).status_code != status and time.monotonic() < until:
        time.sleep(0.05)
    return answer
