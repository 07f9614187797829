"""NIQE: held to pyiqa's computation with the same parameters, and to what it promises where that one has no answer."""

import warnings

import pytest
import scipy.io
import torch
from known_photographs import EVERY_PHOTOGRAPH, WHOLE_AND_ODD, load

from models.iqa import natural_scenes
from models.metric import MetricError
from models.metrics import find_metric
from models.metrics.niqe import WEIGHTS, Niqe, _pristine

NIQE = Niqe()


@pytest.fixture(scope="module")
def pyiqas(tmp_path_factory):
    pytest.importorskip("pyiqa")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyiqa.archs import niqe_arch
    file = tmp_path_factory.mktemp("niqe") / "parameters.mat"
    mean, covariance = _pristine()
    scipy.io.savemat(file, {"mu_prisparam": mean[None].numpy(), "cov_prisparam": covariance.numpy()})
    return niqe_arch.NIQE(pretrained_model_path=str(file))


@EVERY_PHOTOGRAPH
@WHOLE_AND_ODD
def test_it_is_pyiqas_within_a_hundredth(photograph, cut, pyiqas):
    images = load(photograph, cut)
    assert NIQE(images).item() == pytest.approx(pyiqas(images).item(), abs=0.01)


@EVERY_PHOTOGRAPH
def test_what_is_left_of_the_difference_is_the_sign_of_rounding_in_flat_regions(photograph, pyiqas, monkeypatch):
    """pyiqa's window sums up to 1 + 1e-8, so a flat pixel counts as negative there; in exact arithmetic it is 0.

    Which sign the rounding has depends on the order of sums, and that on the processor. The astronaut has much that is
    flat: with AVX-512 and AMX a third of its difference is left, on other processors nothing.
    """
    images = load(photograph)
    theirs, before = pyiqas(images).item(), NIQE(images).item()
    line = torch.tensor(natural_scenes._window(), dtype=torch.float64)
    rounded = torch.outer(line, line).float().double()
    line = rounded.sum(dim=1) / rounded.sum().sqrt()
    monkeypatch.setattr(natural_scenes, "_window", line.tolist)
    monkeypatch.setattr(natural_scenes, "FLAT", 0)
    left = 0.4 * abs(before - theirs) if photograph == "astronaut" else 1e-4
    assert NIQE(images).item() == pytest.approx(theirs, abs=left)


@pytest.mark.parametrize(
    ("photograph", "score"), [("chelsea", 2.57208), ("coffee", 4.06159), ("astronaut", 3.05866), ("rocket", 7.03684)]
)
def test_scores_of_known_photographs_stay(photograph, score):
    assert NIQE(load(photograph)).item() == pytest.approx(score, abs=1e-4)


def test_noise_and_blur_count_against_a_photograph():
    photo = load("chelsea")
    noise = 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(photo, 5, stride=1)
    clean, noisy, soft = (NIQE(images).item() for images in (photo, (photo + noise).clamp(0, 1), blurred))
    assert noisy > clean + 1
    assert soft > clean + 1


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_image_without_texture_is_refused_with_the_reason(value):
    with pytest.raises(MetricError, match="niqe is not defined for this image: no block of 96x96 pixels has texture"):
        NIQE(torch.full((1, 3, 200, 300), value))


def test_an_image_with_a_flat_half_has_a_score_and_a_finite_gradient():
    images = load("coffee").clone()
    images[..., :300] = 0.5
    images.requires_grad_()
    NIQE(images).sum().backward()
    assert torch.isfinite(images.grad).all()
    assert images.grad[..., :192].abs().max() == 0, "whole blocks of one value have no say in which way to go"
    assert images.grad[..., 310:560].abs().max() > 0


def test_the_smallest_image_is_one_block():
    photo = load("chelsea")
    assert torch.isfinite(NIQE(photo[..., 100:196, 100:196])).all()
    with pytest.raises(ValueError, match="niqe needs at least 96 pixels in height and width, got 200x95"):
        NIQE(photo[..., :95, :200])


def test_the_gradient_foretells_the_change():
    plane = natural_scenes.luma(load("chelsea"))[0].double()
    plane = plane + torch.rand(plane.shape, dtype=plane.dtype, generator=torch.Generator().manual_seed(1)) - 0.5
    wanted = plane.clone().requires_grad_()
    NIQE._distance(wanted).backward()
    step = 0.03 * wanted.grad.sign()
    change = NIQE._distance(plane + step) - NIQE._distance(plane - step)
    assert change.item() == pytest.approx(2 * (wanted.grad * step).sum().item(), rel=0.15)


def test_a_large_image_is_scored_in_strips_as_it_would_be_whole(monkeypatch):
    def score_and_gradient():
        images = load("coffee").requires_grad_()
        score = NIQE(images)
        score.backward()
        return score.detach(), images.grad

    score, gradient = score_and_gradient()
    monkeypatch.setattr(natural_scenes, "STRIP", 1)
    in_strips, gradient_in_strips = score_and_gradient()
    assert torch.allclose(in_strips, score, rtol=1e-6, atol=0)
    assert torch.allclose(gradient_in_strips, gradient, rtol=1e-4, atol=1e-7)


def test_the_bare_name_is_ours_and_pyiqas_stays_reachable():
    assert find_metric("niqe").card.name == "niqe"
    assert find_metric("pyiqa:niqe").card.name == "pyiqa:niqe"
    assert not find_metric("niqe").card.human_trained


def test_the_licence_lies_beside_the_parameters():
    assert "Copyright 2018-2022 BasicSR Authors" in (WEIGHTS.parent / "LICENSE").read_text()
    assert "basicsr/metrics/niqe_pris_params.npz" in (WEIGHTS.parent / "SOURCE.md").read_text()
