"""A learned distance is measured where its weights are, listed where they are not, and never taken up midway."""

import pytest
import torch

from app.bench import cells
from app.bench.choices import Choices, draft, settle
from app.bench.folder import Folder
from app.bench.items import BenchError
from app.bench.perform import perform
from app.bench.report import whole
from app.bench.units import units_of
from models.availability import AVAILABLE, unavailable
from models.evaluation import perceptual

CROP = 32
"""Smaller than the pictures, so that pixels are missing."""


@pytest.fixture
def choices(photos, tmp_path, standin):
    defenses = f'jpeg,flip,{{"name": "random-crop", "size": {CROP}}}'
    return Choices(photos, tmp_path / "out", attacks="ifgsm", defenses=defenses, metrics="standin", limit=1)


@pytest.fixture
def with_weights(monkeypatch):
    """As if the weights were here: the distance is a plain one, of the very images it is asked about."""
    monkeypatch.setattr(perceptual, "availability", lambda name: AVAILABLE)
    monkeypatch.setattr(perceptual, "distance", lambda name, one, other: (one - other).abs().amax(dim=(1, 2, 3)))


def measured(choices):
    manifest, folder = settle(choices, draft(choices, "1")), Folder(choices.out)
    for unit in units_of(manifest.parameters):
        list(perform(unit, folder, "cpu"))
    return manifest, cells.read(manifest, folder), folder


def test_without_its_weights_it_is_listed_and_no_number_is_shown(choices, monkeypatch):
    monkeypatch.setattr(perceptual, "availability", lambda name: unavailable("no weights", "Bring them"))
    manifest, findings, _ = measured(choices)
    assert ("measure", "lpips", "no weights. Bring them") in [
        (one.kind, one.name, one.reason) for one in manifest.skipped
    ]
    assert not [cell for cell in findings.cells if "aligned_lpips" in cell.measures]


def test_with_them_it_is_that_of_the_aligned_picture_where_pixels_are_left(choices, with_weights):
    manifest, findings, folder = measured(choices)
    found = {(cell.attack, cell.defense): cell.measures["aligned_lpips"] for cell in findings.cells}
    assert found["clean", "none"] == found["clean", "flip"] == found["clean", f"random-crop(size={CROP})"] == 0
    assert found["ifgsm", "none"] == found["ifgsm", "flip"] == pytest.approx(10 / 255)
    assert found["clean", "jpeg"] > 0
    assert all(torch.isfinite(torch.tensor(value)) for value in found.values())
    whole.write(manifest, findings, folder)
    assert "| LPIPS ↓ | front |" in (folder.root / "report.md").read_text()


def test_weights_that_come_later_change_no_study_and_that_go_stop_it(choices, monkeypatch):
    monkeypatch.setattr(perceptual, "availability", lambda name: unavailable("no weights", "Bring them"))
    settle(choices, draft(choices, "1"))
    monkeypatch.setattr(perceptual, "availability", lambda name: AVAILABLE)
    assert settle(choices, draft(choices, "1")).parameters.measures == ()
    (choices.out / "manifest.json").unlink()
    assert settle(choices, draft(choices, "1")).parameters.measures == ("lpips",)
    monkeypatch.setattr(perceptual, "availability", lambda name: unavailable("no weights", "Bring them"))
    with pytest.raises(BenchError, match="measures lpips, which is not possible now: no weights"):
        settle(choices, draft(choices, "1"))
