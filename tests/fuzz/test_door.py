"""Random and mutated files and fields at the door: a 4xx problem or a job, never a failure, and nothing left behind."""

import io
import json

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from PIL import Image

from models.attacks import ATTACKS
from models.defenses import DEFENSES
from models.images import ImageError, check

FEW = bounds(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
MANY = bounds(FEW, max_examples=400)


def saved(kind, **options):
    file = io.BytesIO()
    image = Image.effect_noise((40, 24), 60).convert("RGB")
    image.save(file, kind, **options)
    return file.getvalue()


GOOD = [
    saved("PNG"), saved("JPEG"), saved("JPEG", progressive=True), saved("WEBP", lossless=True), saved("WEBP", quality=60),
    saved("PNG", icc_profile=b"\0" * 200), saved("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"),
]  # fmt: skip


@st.composite
def mutated(draw):
    """A good file with bytes changed, cut out, doubled or cut off."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 6))):
        if not data:
            break
        place = draw(st.integers(0, min(len(data) - 1, draw(st.sampled_from([40, 400, 10**6])))))
        match draw(st.sampled_from(["flip", "set", "cut", "double", "end", "insert"])):
            case "flip":
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[place : place + 4] = draw(
                    st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"])
                )
            case "cut":
                del data[place : place + draw(st.integers(1, 64))]
            case "double":
                data[place:place] = data[place : place + draw(st.integers(1, 64))]
            case "end":
                del data[place:]
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=16))
    return bytes(data)


@MANY
@given(data=st.one_of(st.binary(max_size=300), mutated()))
@example(data=b"")
@example(data=b"\x89PNG\r\n\x1a\n")
@example(data=b"\xff\xd8\xff")
@example(data=b"RIFF\0\0\0\0WEBP")
def test_any_bytes_are_an_image_or_an_image_error(data):
    try:
        facts = check(data)
    except ImageError:
        return
    assert facts.width >= 16
    assert facts.height >= 16


@FEW
@given(data=mutated())
def test_any_upload_is_a_job_or_a_problem(client, data):
    answer = client.post("/purify", files={"image": data}, data={"defense": "none", "metrics": ""})
    assert answer.status_code in (202, 413, 415, 422), answer.text
    if answer.status_code == 202:
        assert client.delete(answer.headers["location"]).status_code == 204
    else:
        assert answer.json()["errors"][0]["field"] == "image"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def nearly(draw, kinds, another):
    """A defense or attack that nearly fits: real names of parameters, any values."""
    kind = kinds[draw(st.sampled_from(sorted(kinds)))]
    names = [name for name in kind.model_fields if name != "name"]
    values = draw(st.dictionaries(st.sampled_from([*names, "x"]), JSON, max_size=3))
    return json.dumps({"name": draw(st.sampled_from([kind.model_fields["name"].default, another])), **values})


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "defense": nearly(DEFENSES, "chain") | JSON.map(json.dumps) | st.text(max_size=40),
        "attack": nearly(ATTACKS, "uap") | JSON.map(json.dumps) | st.text(max_size=40),
        "metric": st.text(max_size=60) | st.sampled_from(["fr-surrogate", "piqe"]),
        "metrics": st.text(max_size=60) | st.sampled_from(["piqe", "piqe,piqe", ",", "niqe,brisque", "fr-surrogate"]),
        "seed": st.integers().map(str) | st.text(max_size=8),
        "samples": st.integers(-2, 40).map(str),
        "format": st.sampled_from(["png", "webp", "jpeg", "gif", ""]),
        "more": st.text(max_size=4),
    },
)


@FEW
@given(fields=FIELDS, path=st.sampled_from(["/purify", "/score", "/attack"]))
def test_any_fields_are_an_order_or_a_problem(idle, fields, path):
    sendable = {name: value.encode(errors="surrogatepass") for name, value in fields.items()}
    answer = idle.post(path, files={"image": GOOD[0]} | {name: (None, value) for name, value in sendable.items()})
    assert answer.status_code in (202, 400, 409, 422), (fields, answer.text)
    assert answer.headers["content-type"] in ("application/json", "application/problem+json")


@FEW
@given(
    body=st.binary(max_size=400),
    kind=st.sampled_from(["multipart/form-data; boundary=b", "multipart/form-data", "x/y", ""]),
)
def test_any_body_is_a_problem(idle, body, kind):
    answer = idle.post("/purify", content=body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code in (400, 415, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@FEW
@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_job_id_is_unknown(idle, name):
    from urllib.parse import quote

    answer = idle.get(f"/jobs/{quote(name, safe='')}")
    assert answer.status_code in (404, 405, 307), answer.text


@pytest.fixture(scope="module")
def idle(shared_service, tmp_path_factory):
    """A client of an app whose jobs nobody performs: a broker database of its own."""
    from starlette.testclient import TestClient

    from app.main import create_app

    more = {
        "redis_url": f"{shared_service.redis_url}?db=1",
        "data_dir": tmp_path_factory.mktemp("door"),
        "attacks": True,
    }
    with TestClient(create_app(shared_service.model_copy(update=more)), raise_server_exceptions=False) as client:
        yield client
