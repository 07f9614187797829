"""A folder of two small pictures and one that is broken, and the stand-in metric in the catalogue."""

import pytest
from standin_metrics import Standin, photograph_like

from app.bench.choices import Choices
from app.bench.report import whole
from models.images import ImageFormat, encode
from models.metrics import metrics


@pytest.fixture
def standin(monkeypatch):
    metric = Standin()
    monkeypatch.setitem(metrics(), "standin", metric)
    return metric


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.png")):
        (folder / name).write_bytes(encode(photograph_like(1, 64, 72, seed=number), ImageFormat.PNG))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """Reports without pictures: drawing them is nearly all the work of a study of two small photographs."""
    monkeypatch.setattr(whole, "_plots", lambda *_, **__: ())
    monkeypatch.setattr(whole, "_gallery", lambda *_: ())


@pytest.fixture
def choices(photos, tmp_path, standin):
    return Choices(
        photos, tmp_path / "out", attacks="ifgsm", defenses="random-noise,flip", metrics="standin", adaptive="flip"
    )
