"""How much may be sent: counted over all that comes, declared or not, and exactly."""

import httpx2
import pytest
from conftest import served
from problems import problem

from app.body_limit import FORM_OVERHEAD
from app.main import create_app

LIMIT = 1_000 + FORM_OVERHEAD
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
BEGIN = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'


@pytest.mark.parametrize("sent", [bytes(LIMIT), iter([bytes(LIMIT)])], ids=["declared", "chunked"])
def test_a_body_as_large_as_may_be_is_read(open_client, sent):
    answer = open_client(max_bytes=1_000).post("/purify", content=sent, headers=FORM)
    problem(answer, 400, "bad-form")  # so it was read


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
