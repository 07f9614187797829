"""With a service, too, a metric without a score for a picture takes no other metric's results with it."""

from importlib.metadata import version

import pytest
import torch
from standin_metrics import photograph_like
from studies import table

from app.bench import study
from app.bench.choices import Choices
from models.images import ImageFormat, encode

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "flat.png").write_bytes(encode(torch.full((1, 3, 112, 128), 0.5), ImageFormat.PNG))
    (folder / "photo.png").write_bytes(encode(photograph_like(1, 112, 128), ImageFormat.PNG))
    return folder


@pytest.mark.slow
def test_the_table_is_that_of_a_study_without_a_service(pictures, tmp_path, server):
    outcomes = [
        study.run(
            Choices(pictures, tmp_path / name, attacks="fgsm", defenses="flip", metrics="fr-surrogate,niqe"),
            version("purifiqa"), study.Means(jobs=1, server=url),
        )
        for name, url in (("here", None), ("there", server))
    ]  # fmt: skip
    here, there = table(tmp_path / "here"), table(tmp_path / "there")
    assert there == here
    assert {(row[0], row[1]) for row in here[1:]} == {
        ("flat.png", "fr-surrogate"), ("photo.png", "fr-surrogate"), ("photo.png", "niqe"),
    }  # fmt: skip
    told = [sorted((one.place, one.step) for one in outcome.findings.unscored) for outcome in outcomes]
    clean = [("clean/flat.png", "flip"), ("clean/flat.png", "none")]
    assert told[0] == told[1] == [*clean, ("niqe/fgsm/flat.png", "attack")]
    assert all("niqe" in one.why for outcome in outcomes for one in outcome.findings.unscored)


@pytest.mark.slow
def test_an_attacked_picture_without_a_score_is_listed_as_in_a_study_without_a_service(pictures, tmp_path, server):
    (pictures / "flat.png").unlink()
    outcomes = [
        study.run(
            Choices(
                pictures, tmp_path / name, attacks='{"name": "square", "queries": 4}',
                defenses='{"name": "random-crop", "size": 64}', metrics="niqe",
            ),
            version("purifiqa"), study.Means(jobs=1, server=url),
        )
        for name, url in (("here", None), ("there", server))
    ]  # fmt: skip
    assert table(tmp_path / "there") == table(tmp_path / "here")
    crop = "random-crop(size=64)"
    for found in (outcome.findings for outcome in outcomes):
        assert (found.failures, found.done) == ([], found.steps)
        assert [(one.step, one.place.partition("/")[0]) for one in found.unscored] == [(crop, "clean"), (crop, "niqe")]
