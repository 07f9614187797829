"""The base class: what a call checks, and how a gradient gets around a defense that has none."""

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

from models.defense import Defense, PurificationError
from models.defenses.none import NoDefense


class Rounding(Defense):
    """Round to black or white."""

    name: str = "rounding"
    differentiable: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False

    def purify(self, images, noise):
        return images.round()


class HalfSize(Rounding):
    """Round and halve."""

    def output_size(self, size):
        return size[0] // 2, size[1] // 2

    def purify(self, images, noise):
        return F.avg_pool2d(images, 2).round()

    def surrogate(self, images):
        return F.avg_pool2d(images, 2)


class Broken(Rounding):
    """Return something that is no image."""

    fault: float = 0

    def purify(self, images, noise):
        return images[..., 1:] if self.fault == 1 else images / 0


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (torch.zeros(3, 16, 16), "float32"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.float64), "float32"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "float32"),
        (torch.zeros(1, 1, 16, 16), r"\(N, 3, H, W\)"),
        (torch.zeros(0, 3, 16, 16), r"\(N, 3, H, W\)"),
        (torch.zeros(1, 3, 15, 16), "at least 16"),
        (torch.full((1, 3, 16, 16), 1.001), "0, 1"),
        (torch.full((1, 3, 16, 16), -0.001), "0, 1"),
        (torch.full((1, 3, 16, 16), torch.nan), "0, 1"),
    ],
)
def test_what_is_no_image_is_refused(images, reason):
    with pytest.raises(ValueError, match=reason):
        NoDefense()(images)


def test_seeds_out_of_contract_are_refused():
    images = torch.zeros(2, 3, 16, 16)
    with pytest.raises(ValueError, match="2 images need 2 seeds"):
        NoDefense()(images, [1])
    with pytest.raises(ValueError, match="seed must be between"):
        NoDefense()(images, -1)


def test_output_that_is_no_image_is_an_error():
    images = torch.zeros(1, 3, 16, 16)
    with pytest.raises(PurificationError, match="NaN"):
        Broken()(images)
    with pytest.raises(PurificationError, match="shape"):
        Broken(fault=1)(images)


def test_the_gradient_of_a_rounding_is_straight_through():
    images, weights = torch.rand(1, 3, 16, 16, requires_grad=True), torch.rand(1, 3, 16, 16)
    (gradient,) = torch.autograd.grad(Rounding()(images), images, weights)
    assert torch.equal(gradient, weights)


def test_the_gradient_is_that_of_the_surrogate():
    images, weights = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 16, 16)
    (gradient,) = torch.autograd.grad(HalfSize()(images), images, weights)
    torch.testing.assert_close(gradient, weights.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4)


def test_no_gradient_is_made_that_nobody_asked_for():
    images = torch.rand(1, 3, 16, 16)
    assert not Rounding()(images).requires_grad
    with torch.no_grad():
        assert not Rounding()(images.requires_grad_()).requires_grad


def test_black_and_white_pass_their_gradient():
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 16, 16).clone().requires_grad_()
    for defense in (NoDefense(), Rounding()):
        (gradient,) = torch.autograd.grad(defense(images).sum(), images)
        assert (gradient == 1).all()


def test_a_changed_size_is_undone_when_aligning():
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 40, 64)
    aligned = NoDefense().align(F.avg_pool2d(ramp, 2), (40, 64))
    assert aligned.valid.all()
    torch.testing.assert_close(aligned.images[..., 1:-1], ramp[..., 1:-1], rtol=0, atol=1e-5)
