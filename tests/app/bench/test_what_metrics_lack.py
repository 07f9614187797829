"""Metrics whose range is open and pictures without any score: what cannot be told is left out, and nothing else."""

import pytest
from standin_metrics import Standin

from app.bench import cells
from app.bench.choices import Choices, draft, settle
from app.bench.folder import Folder
from app.bench.perform import perform
from app.bench.units import units_of
from models.metric import UndefinedScoreError
from models.metrics import metrics


def findings(photos, tmp_path, names, defenses="flip"):
    choices = Choices(photos, tmp_path / "out", attacks="fgsm", defenses=defenses, metrics=names, limit=1)
    manifest, folder = settle(choices, draft(choices, "1")), Folder(choices.out)
    for unit in units_of(manifest.parameters):
        list(perform(unit, folder, "cpu"))
    return cells.read(manifest, folder)


@pytest.mark.parametrize("bounds", [(0.0, None), (None, None)])
def test_an_open_range_has_no_width_to_divide_by(photos, tmp_path, monkeypatch, bounds):
    monkeypatch.setitem(metrics(), "standin", Standin(bounds=bounds))
    found = findings(photos, tmp_path, "standin")
    assert not found.failures
    attacked = [cell.measures for cell in found.cells if cell.attack == "fgsm"]
    assert len(attacked) == 2
    for measures in attacked:
        assert measures.keys() >= {"gain", "robust_rel_gain", "both_defended_rel_gain", "movement"}
        assert not measures.keys() & {"robust_abs_gain", "both_defended_abs_gain"}


def undefined(_, images):
    raise UndefinedScoreError("standin is not defined for this image")


def test_a_picture_without_any_score_is_listed_and_done_and_so_is_an_attack_that_needs_one(
    photos, tmp_path, standin, monkeypatch
):
    monkeypatch.setitem(metrics(), "another", Standin())
    monkeypatch.setattr(Standin, "score", undefined)
    found = findings(photos, tmp_path, "standin,another")
    assert (found.failures, found.cells, found.done) == ([], [], found.steps)
    assert sorted((one.place, one.step) for one in found.unscored) == [
        ("another/fgsm/a.png", "attack"),
        *[("clean/a.png", "flip")] * 2,
        *[("clean/a.png", "none")] * 2,
        ("standin/fgsm/a.png", "attack"),
    ]
    monkeypatch.setattr(Standin, "score", lambda *_: pytest.fail("a picture is asked about again"))
    assert findings(photos, tmp_path, "standin,another") == found


def test_an_attacked_picture_without_a_score_is_listed_and_not_tried_again(photos, tmp_path, standin, monkeypatch):
    score, asked = Standin.score, []

    def of_whole_pictures(self, images):
        asked.append(images.shape)
        return undefined(self, images) if images.shape[3] == 48 else score(self, images)

    monkeypatch.setattr(Standin, "score", of_whole_pictures)
    crop = '{"name": "random-crop", "size": 48}'
    found = findings(photos, tmp_path, "standin", crop)
    assert (found.failures, found.done) == ([], found.steps)
    assert [(one.place, one.step) for one in found.unscored] == [
        ("clean/a.png", "random-crop(size=48)"),
        ("standin/fgsm/a.png", "random-crop(size=48)"),
    ]
    assert all("standin is not defined for this image" in one.why for one in found.unscored)
    assert {cell.defense for cell in found.cells} == {"none"}
    asked.clear()
    assert findings(photos, tmp_path, "standin", crop) == found
    assert not asked
