"""Training the denoiser that ships, on a tiny chain and a few crops."""

import csv

import cv2
import pytest
import torch
from known_photographs import NAMES, pixels

from models.diffusion.ffdnet import FFDNet
from models.diffusion.pyramid import FFDNetPyramid
from training import denoiser
from training.grafting import graft
from training.photos import Photos


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES[:3]:
        cv2.imwrite(str(folder / f"{name}.png"), pixels(name, 256)[..., ::-1])
    return folder


@pytest.fixture
def train(photos, tmp_path, monkeypatch):
    """A function that trains as the command does, from a chain of 8 channels to a pyramid of 6."""
    torch.manual_seed(0)
    FFDNet(width=8, depth=7).save(tmp_path / "start")
    monkeypatch.setattr(denoiser, "EVERY", 2)
    network = ["--teacher", tmp_path / "start", "--start", tmp_path / "start", "--widths", 7, 6, "--round", 2]
    crops = ["--photos", photos, "--held-out", 1, "--batch", 2, "--side", 32, "--device", "cpu", "--threads", 1]
    return lambda *more: denoiser.main([str(word) for word in [*network, *crops, *more]])


def test_what_is_grafted_on_changes_nothing_at_first():
    torch.manual_seed(1)
    chain = FFDNet(width=16)
    noisy, sigma = torch.rand(2, 3, 32, 40), torch.tensor([0.02, 0.2])
    with torch.no_grad():
        torch.testing.assert_close(graft(chain)(noisy, sigma), chain(noisy, sigma), rtol=0, atol=1e-6)


def test_all_that_is_grafted_on_can_learn():
    pyramid = graft(FFDNet(width=16))
    for _ in range(2):  # what joins the chain is 0 at first, so that what is behind it learns from the second step on
        pyramid.zero_grad()
        pyramid(torch.rand(1, 3, 32, 32), torch.tensor([0.1])).square().mean().backward()
        with torch.no_grad():
            for parameter in pyramid.parameters():
                parameter.sub_(0.1 * parameter.grad)
    assert all(parameter.grad.abs().sum() > 0 for parameter in pyramid.parameters())


@pytest.mark.slow
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(train, tmp_path):
    train("--out", tmp_path / "whole", "--steps", 8)
    for steps in (2, 4, 8):  # stopped while it narrows, where it is grafted, and at the end
        train("--out", tmp_path / "parts", "--steps", 8, "--until", steps)
    whole, parts = (FFDNetPyramid.read(tmp_path / name / "result").state_dict() for name in ("whole", "parts"))
    assert FFDNetPyramid.read(tmp_path / "whole" / "result").width == 6
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    rows = list(csv.DictReader((tmp_path / "whole" / "curve.csv").read_text().splitlines()))
    assert [row["network"] for row in rows][-1] == "FFDNetPyramid"
    assert float(rows[-1]["psnr_25"]) > 0


def test_the_loss_that_is_told_is_the_mean_over_the_steps_since_the_run_went_on(train, tmp_path, monkeypatch):
    monkeypatch.setattr(denoiser.Run, "_step", lambda run: [setattr(run, "step", run.step + 1), -30.0][1])
    for until in (1, 3, 6):  # a look after every second step
        train("--out", tmp_path / "out", "--steps", 6, "--until", until)
    rows = csv.DictReader((tmp_path / "out" / "curve.csv").read_text().splitlines())
    assert [(row["step"], row["loss"]) for row in rows if float(row["loss"])] == [
        ("2", "-30.0"), ("4", "-30.0"), ("6", "-30.0"),
    ]  # fmt: skip


def test_a_pyramid_is_trained_on_as_it_is(train, tmp_path):
    before = graft(FFDNet(width=8))
    before.save(tmp_path / "pyramid")
    train("--out", tmp_path / "out", "--start", tmp_path / "pyramid", "--steps", 4)
    after = FFDNetPyramid.read(tmp_path / "out" / "result")
    assert after.settings == before.settings
    moved = [float((after.state_dict()[name] - value).abs().max()) for name, value in before.state_dict().items()]
    assert 0 < max(moved) < 1e-3  # four steps of Adam at its smallest rates, not another network
    first = next(csv.DictReader((tmp_path / "out" / "curve.csv").read_text().splitlines()))
    assert first["network"] == "FFDNetPyramid"
    assert float(first["vivid_5"]) > 0


def test_a_network_of_another_kind_is_refused_by_name(train, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(ValueError, match="other holds a UNet2D; known are FFDNet and FFDNetPyramid"):
        train("--out", tmp_path / "out", "--start", tmp_path / "other", "--steps", 1)


def test_crops_are_decided_by_the_seed_and_some_are_of_shrunk_photographs(photos):
    crops = Photos(photos, held_out=1)
    assert torch.equal(crops.crops(8, 64, seed=3), crops.crops(8, 64, seed=3))
    assert not torch.equal(crops.crops(8, 64, seed=3), crops.crops(8, 64, seed=4))
    sharp = [float(crops.crops(8, side, seed=3).diff(dim=3).abs().mean()) for side in (120, 130)]
    assert sharp[0] > sharp[1]  # of 256 pixels, half are 128: no room for crops of 130 in shrunk ones
    with pytest.raises(ValueError, match="no photograph"):
        crops.crops(8, 300, seed=3)


def test_a_held_out_photograph_that_is_too_small_is_refused_not_watched_without_a_pixel(photos):
    with pytest.raises(ValueError, match="256x256 pixels, less than 300"):
        Photos(photos, held_out=1).watched(300)
