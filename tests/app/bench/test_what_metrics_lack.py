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


def findings(photos, tmp_path, names):
    choices = Choices(photos, tmp_path / "out", attacks="fgsm", defenses="flip", metrics=names, limit=1)
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


def test_a_step_without_any_score_failed_and_is_tried_again(photos, tmp_path, standin, monkeypatch):
    def undefined(self, images):
        raise UndefinedScoreError("standin is not defined for this image")

    monkeypatch.setitem(metrics(), "another", Standin())
    monkeypatch.setattr(Standin, "score", undefined)
    found = findings(photos, tmp_path, "standin,another")
    assert (found.done, found.cells, found.unscored) == (0, [], [])
    assert {failure.step for failure in found.failures} == {"none", "flip", "attack"}
    monkeypatch.undo()
    monkeypatch.setitem(metrics(), "standin", standin)
    monkeypatch.setitem(metrics(), "another", Standin())
    again = findings(photos, tmp_path, "standin,another")
    assert (again.done, again.failures) == (again.steps, [])
