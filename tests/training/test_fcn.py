"""Training the FCN filters, on a stand-in metric and tiny pairs."""

import json

import cv2
import numpy as np
import pytest
import torch
from known_photographs import pixels
from standin_metrics import Standin

from models.attacks.adv_cf import AdvCf
from training import attacked, fcn


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("chelsea", "coffee", "astronaut", "rocket"):
        cv2.imwrite(str(folder / f"{name}.png"), pixels(name, 96)[..., ::-1])
    return folder


@pytest.fixture
def train(photos, tmp_path, monkeypatch):
    """A function that trains as the command does."""
    monkeypatch.setattr(fcn, "find_metric", lambda name: Standin())
    common = ["--photos", photos, "--pairs", tmp_path / "pairs", "--side", 48, "--held-out", 1]
    return lambda *more: fcn.main([str(word) for word in [*common, "--per-photo", 1, "--device", "cpu", *more]])


def result(folder):
    return (folder / "result" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("architecture", "name"), [("paper", "fcn"), ("curves", "fcn-curves")])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(train, tmp_path, monkeypatch, architecture, name):
    command = ["--architecture", architecture, "--epochs", 3]
    train(*command, "--out", tmp_path / "whole")
    with monkeypatch.context() as patch:
        save = fcn.Run._save

        def save_and_stop(run):
            save(run)
            raise KeyboardInterrupt

        patch.setattr(fcn.Run, "_save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(*command, "--out", tmp_path / "parts")
    train(*command, "--out", tmp_path / "parts")
    assert result(tmp_path / "parts" / name) == result(tmp_path / "whole" / name)
    assert len((tmp_path / "parts" / name / "curve.csv").read_text().splitlines()) == 4


def test_pairs_are_8_bit_crops_made_once_and_held_out_by_photograph(train, tmp_path):
    train("--out", tmp_path / "run", "--epochs", 0)
    files = sorted((tmp_path / "pairs").glob("*.npy"))
    assert len(files) == 4
    clean, bent = np.load(files[0])
    assert clean.shape == bent.shape == (3, 48, 48)
    assert not np.array_equal(clean, bent)
    files[1].unlink()
    before = files[0].stat().st_mtime_ns
    train("--out", tmp_path / "run", "--epochs", 0)
    assert files[1].is_file()
    assert files[0].stat().st_mtime_ns == before
    trained, watched = attacked.read(tmp_path / "pairs", 1)
    assert (len(trained.clean), len(watched.clean)) == (3, 1)


def test_pairs_that_were_made_otherwise_are_refused(photos, tmp_path):
    attacked.make(photos, tmp_path / "pairs", AdvCf(iterations=1), Standin(), 32, 1)
    assert json.loads((tmp_path / "pairs" / attacked.ORIGIN).read_text())["attack"]["iterations"] == 1
    with pytest.raises(ValueError, match=r"pairs.*name another folder"):
        attacked.make(photos, tmp_path / "pairs", AdvCf(iterations=2), Standin(), 32, 1)
    with pytest.raises(ValueError, match="more than 4 are needed"):
        attacked.read(tmp_path / "pairs", 4)


@pytest.mark.slow
def test_the_curve_network_learns_to_undo_what_was_done(photos, tmp_path):
    """A gray veil over everything is lifted after a few steps."""
    clean = torch.stack([torch.from_numpy(pixels(name, 64)).permute(2, 0, 1) for name in ("chelsea", "coffee")])
    pairs = attacked.Pairs(clean, (clean.float() * 0.7 + 38).byte())
    command = ["--photos", str(photos), "--out", str(tmp_path), "--architecture", "curves", "--epochs", "150"]
    run = fcn.Run(fcn._parse([*command, "--device", "cpu"]), pairs, pairs)
    before = run._quality()["psnr"]
    run.train()
    assert run._quality()["psnr"] > before + 3


def test_the_curves_of_a_pair_turn_its_clean_image_into_the_attacked_one():
    clean = torch.stack([torch.from_numpy(pixels(name, 64)).permute(2, 0, 1) for name in ("chelsea", "coffee")])
    bent = (clean.float() / 255).pow(1.3).mul(255).round().byte()
    tables = attacked.curves(attacked.Pairs(clean, bent))
    assert torch.equal(tables.gather(2, clean.long().flatten(2)).view(clean.shape), bent)
    assert (tables.int().diff(dim=2) >= 0).all()
