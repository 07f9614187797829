"""The learned metric that ships, on photographs that it was not trained on."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from known_photographs import NAMES, pixels, tensor

from models.iqa.fr_surrogate import SHIPPED, FRSurrogate, shipped
from models.metric import UnsuitableSizeError
from models.metrics import find_metric
from models.metrics.fr_surrogate import MAX_PIXELS
from training.distortions import FAMILIES

METRIC = find_metric("fr-surrogate")
GOLDEN = {"chelsea": 98.0, "coffee": 90.286, "astronaut": 97.773, "rocket": 100.751}


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_has_the_score_that_it_had_when_the_weights_were_made(name):
    assert METRIC(tensor(pixels(name))).item() == pytest.approx(GOLDEN[name], abs=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_ruined_photograph_scores_far_below_itself(family):
    for name in NAMES:
        ruined = FAMILIES[family](pixels(name), 5, np.random.default_rng(0))
        assert METRIC(tensor(pixels(name))) > METRIC(tensor(ruined)) + 15


@pytest.mark.parametrize("sideways", [False, True])
def test_a_narrow_image_over_the_cap_is_shrunk_to_what_the_network_can_take_and_no_further(monkeypatch, sideways):
    monkeypatch.setattr("models.metrics.fr_surrogate.MAX_PIXELS", 64 * 128)
    photo = tensor(pixels("coffee"))[..., :32, :].repeat(1, 1, 1, 4)[..., :1024]
    size = (32, int(1024 * (64 * 128 / (32 * 1024)) ** 0.5))
    if sideways:
        photo, size = photo.mT, size[::-1]
    shrunk = torch.nn.functional.interpolate(photo, size=size, mode="bilinear", antialias=True)
    with torch.no_grad():
        assert METRIC(photo).item() == pytest.approx(shipped(photo.device)(shrunk).item(), abs=1e-3)


def test_an_image_over_the_cap_is_scored_as_its_shrunk_self():
    photo = tensor(pixels("coffee")).repeat(1, 1, 8, 8)
    assert photo.shape[2] * photo.shape[3] > MAX_PIXELS
    side = int(MAX_PIXELS**0.5)
    shrunk = torch.nn.functional.interpolate(photo, size=(side, side), mode="bilinear", antialias=True).clamp(0, 1)
    assert METRIC(photo).item() == pytest.approx(METRIC(shrunk).item(), abs=1e-3)


def test_the_thinnest_huge_image_keeps_a_side_that_it_can_score():
    assert torch.isfinite(METRIC(torch.rand(1, 3, 32, 80_000))).all()


def test_an_image_under_32_pixels_is_refused_by_name():
    with pytest.raises(UnsuitableSizeError, match="fr-surrogate needs at least 32 pixels"):
        METRIC(torch.rand(1, 3, 31, 64))


def rise(photo):
    image = photo
    for _ in range(10):
        image = image.detach().requires_grad_()
        METRIC(image).sum().backward()
        image = (photo + (image.detach() + image.grad.sign() / 255 - photo).clamp(-10 / 255, 10 / 255)).clamp(0, 1)
    return float(METRIC(image.detach()) - METRIC(photo))


def test_it_can_be_attacked_so_that_defenses_have_something_to_defend():
    rises = sorted(rise(tensor(pixels(name))) for name in NAMES)
    assert rises[0] > 15
    assert rises[1] > 25, "most photographs rise by over a quarter of the range"


def test_the_weights_ship_in_at_most_twelve_megabytes():
    assert SHIPPED.stat().st_size <= 12e6


def test_the_weights_survive_being_written_and_read(tmp_path):
    network = FRSurrogate.read()
    network.save(tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == SHIPPED.read_bytes()


@pytest.mark.slow
def test_scoring_imports_neither_pyiqa_nor_transformers_nor_torchvision():
    code = """
import sys, torch
import app.main
from models.metrics import find_metric
find_metric("fr-surrogate")(torch.rand(1, 3, 64, 64))
print(*[name for name in ("pyiqa", "transformers", "torchvision", "timm", "diffusers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
