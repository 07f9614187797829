"""BRISQUE: held to the method written anew with OpenCV, and to pyiqa's computation with its departures undone."""

import warnings

import cv2
import numpy as np
import pytest
import torch
from known_photographs import EVERY_PHOTOGRAPH, WHOLE_AND_ODD, load
from scipy.special import gamma

from models.iqa import natural_scenes
from models.metric import MetricError
from models.metrics import find_metric
from models.metrics.brisque import WEIGHTS, Brisque, _weights

BRISQUE = Brisque()
ALPHAS = np.arange(0.2, 10.0005, 0.001)
PEAKEDNESS = gamma(2 / ALPHAS) ** 2 / (gamma(1 / ALPHAS) * gamma(3 / ALPHAS))


def fitted(values, count):
    """The table look-up of the paper, on single NumPy arrays."""
    left, right = np.sqrt((values[values < 0] ** 2).mean()), np.sqrt((values[values > 0] ** 2).mean())
    ratio = left / right
    measured = (np.abs(values).sum() / count) ** 2 / ((values**2).sum() / count)
    measured *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    return ALPHAS[np.abs(PEAKEDNESS - measured).argmin()], left, right


def features(gray):
    def blur(values):
        return cv2.GaussianBlur(values, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)

    mean = blur(gray)
    values = (gray - mean) / (np.sqrt(np.abs(blur(gray * gray) - mean * mean)) + 1)
    values[np.abs(values) < 1e-8] = 0
    alpha, left, right = fitted(values, values.size)
    found = [alpha, (left**2 + right**2) / 2]
    neighbors = (
        values[:, 1:] * values[:, :-1], values[1:] * values[:-1],
        values[1:, 1:] * values[:-1, :-1], values[1:, :-1] * values[:-1, 1:],
    )  # fmt: skip
    for product in neighbors:
        alpha, left, right = fitted(product, values.size)
        mean_of_it = (right - left) * np.sqrt(gamma(1 / alpha) / gamma(3 / alpha)) * gamma(2 / alpha) / gamma(1 / alpha)
        found += [alpha, mean_of_it, left**2, right**2]
    return found


def written_anew(images):
    weights = {name: value.numpy() for name, value in _weights().items()}
    gray = natural_scenes.luma(images)[0].double().numpy()
    half = cv2.resize(gray, (gray.shape[1] // 2, gray.shape[0] // 2), interpolation=cv2.INTER_CUBIC)
    scaled = 2 * (np.array(features(gray) + features(half)) - weights["lowest"])
    scaled = scaled / (weights["highest"] - weights["lowest"]) - 1
    kernel = np.exp(-weights["gamma"] * ((scaled - weights["support"]) ** 2).sum(axis=1))
    return weights["coefficients"] @ kernel - weights["rho"]


@EVERY_PHOTOGRAPH
@WHOLE_AND_ODD
def test_it_is_the_method_written_anew(photograph, cut):
    images = load(photograph, cut)
    assert BRISQUE(images).item() == pytest.approx(written_anew(images), abs=0.02)


def shifted(values, shifts, dims):
    """What torch.roll does, but with zeros, not the other end, outside."""
    rows, columns = shifts
    height, width = values.shape[-2:]
    padded = torch.nn.functional.pad(values, (1, 1, 1, 1))
    return padded[..., 1 - rows : 1 - rows + height, 1 - columns : 1 - columns + width]


@pytest.fixture
def pyiqas(tmp_path, monkeypatch):
    """pyiqa's network with our parameters, and the conventions of the release that they come from."""
    pytest.importorskip("pyiqa")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyiqa.archs import brisque_arch as module
    weights = _weights()
    torch.save((weights["coefficients"], weights["support"]), tmp_path / "svm.pth")
    network = module.BRISQUE(pretrained_model_path=str(tmp_path / "svm.pth"))
    network.rho, network.gamma = weights["rho"].item(), weights["gamma"].item()
    lowest, highest = weights["lowest"], weights["highest"]
    normalize, fit = module.normalize_img_with_gauss, module.estimate_aggd_param

    def symmetric(values):
        alpha, left, right = fit(values, return_sigma=True)
        return alpha, ((left**2 + right**2) / 2).sqrt()

    def half(images, **_):
        size = (images.shape[2] // 2, images.shape[3] // 2)
        return torch.nn.functional.interpolate(images, size=size, mode="bicubic")

    monkeypatch.setattr(module, "scale_features", lambda found: 2 * (found - lowest) / (highest - lowest) - 1)
    monkeypatch.setattr(module, "normalize_img_with_gauss", lambda *a, padding: normalize(*a, padding="replicate"))
    monkeypatch.setattr(module, "estimate_ggd_param", symmetric)
    monkeypatch.setattr(module, "imresize", half)
    monkeypatch.setattr(torch, "roll", shifted)
    return network


@EVERY_PHOTOGRAPH
@pytest.mark.parametrize("cut", [(7, 13)])
def test_it_is_pyiqas_once_the_conventions_are_those_of_the_parameters(photograph, cut, pyiqas):
    images = load(photograph, cut)
    assert BRISQUE(images).item() == pytest.approx(pyiqas(images.double()).item(), abs=0.1)


@pytest.mark.parametrize(
    ("photograph", "score"), [("chelsea", 3.6608), ("coffee", 3.9352), ("astronaut", 4.1472), ("rocket", 4.5627)]
)
def test_scores_of_known_photographs_stay(photograph, score):
    assert BRISQUE(load(photograph)).item() == pytest.approx(score, abs=1e-3)


def test_the_regression_is_whole():
    weights = _weights()
    assert weights["coefficients"].sum().abs() < 0.02, "the coefficients of such a regression sum up to zero"
    assert weights["coefficients"].abs().max() == 1024
    assert (weights["highest"] > weights["lowest"]).all()
    assert (weights["support"].amin(dim=0) >= -1).all()
    assert (weights["support"].amax(dim=0) <= 1).all()


def test_more_noise_and_more_blur_count_against_a_photograph():
    photo = load("chelsea")
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    noisy = [BRISQUE((photo + sigma * noise).clamp(0, 1)).item() for sigma in (0, 0.05, 0.15)]
    soft = [BRISQUE(torch.nn.functional.avg_pool2d(photo, side, stride=1)).item() for side in (1, 3, 9)]
    assert noisy == sorted(noisy)
    assert soft == sorted(soft)
    assert min(noisy[-1], soft[-1]) > 40


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_image_without_texture_is_refused_with_the_reason(value):
    with pytest.raises(MetricError, match="brisque is not defined for this image: it has no texture"):
        BRISQUE(torch.full((1, 3, 64, 48), value))


def test_an_image_with_a_flat_half_has_a_score_and_a_finite_gradient():
    images = load("coffee").clone()
    images[..., :300] = 0.5
    images.requires_grad_()
    BRISQUE(images).sum().backward()
    assert torch.isfinite(images.grad).all()
    assert images.grad[..., 310:].abs().max() > 0


def test_the_gradient_foretells_the_change():
    plane = natural_scenes.luma(load("chelsea"))[0].double()
    plane = plane + torch.rand(plane.shape, dtype=plane.dtype, generator=torch.Generator().manual_seed(1)) - 0.5
    wanted = plane.clone().requires_grad_()
    BRISQUE._regression(wanted).backward()
    step = 0.03 * wanted.grad.sign()
    change = BRISQUE._regression(plane + step) - BRISQUE._regression(plane - step)
    assert change.item() == pytest.approx(2 * (wanted.grad * step).sum().item(), rel=0.15)


def test_a_large_image_is_scored_in_strips_as_it_would_be_whole(monkeypatch):
    def score_and_gradient():
        images = load("chelsea", (250, 250)).requires_grad_()
        score = BRISQUE(images)
        score.backward()
        return score.detach(), images.grad

    score, gradient = score_and_gradient()
    monkeypatch.setattr(natural_scenes, "STRIP", 1)
    in_strips, gradient_in_strips = score_and_gradient()
    assert torch.allclose(in_strips, score, rtol=1e-6, atol=1e-6)
    assert torch.allclose(gradient_in_strips, gradient, rtol=1e-4, atol=1e-5)


def test_the_bare_name_is_ours_and_says_that_people_judged_for_it():
    assert find_metric("brisque").card.name == "brisque"
    assert find_metric("pyiqa:brisque").card.name == "pyiqa:brisque"
    assert find_metric("brisque").card.human_trained


def test_the_licence_lies_beside_the_parameters():
    assert "Copyright 2024 Rehan Guha" in (WEIGHTS.parent / "LICENSE").read_text()
    assert "brisque/models/svm.txt" in (WEIGHTS.parent / "SOURCE.md").read_text()
