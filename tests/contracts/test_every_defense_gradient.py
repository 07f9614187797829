"""What every defense promises of its gradient."""

import pytest
import torch
from defense_cases import EDGE_CASES, EVERY_DEFENSE, noise_images, smooth_image, smooth_pattern

from models.defense import Defense


@EVERY_DEFENSE
def test_asking_for_a_gradient_does_not_change_the_output(defense):
    images = noise_images(2, 24, 33)
    with_gradient = defense(images.clone().requires_grad_(), [7, 8])
    assert with_gradient.requires_grad
    torch.testing.assert_close(with_gradient.detach(), defense(images, [7, 8]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("defense", [case for case in EDGE_CASES if case.values[0].is_differentiable])
def test_an_exact_gradient_agrees_with_finite_differences(defense, monkeypatch):
    monkeypatch.setenv("PURIFIQA_PRECISION", "float32")  # bfloat16 has steps larger than the differences
    # the small step for polynomial rounding, which jumps; the larger one where float32's error is larger than the change
    assert any(disagreement(defense, step) < 0.01 for step in (2e-6, 2e-5))


def disagreement(defense, step):
    """The median relative error of directional derivatives; smooth directions average float32's error."""
    size = (24, 32)
    image = smooth_image(*size)
    errors = []
    for pair in range(7):
        direction = smooth_pattern(*size, seed=10 + pair)
        weights = 1 + 0.5 * smooth_pattern(*defense.output_size(size), seed=20 + pair)
        variable = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(defense(variable, 5), variable, weights)
        up, down = defense(image + step * direction, 5), defense(image - step * direction, 5)
        difference = ((up - down).double() * weights).sum() / (2 * step)
        scale = (gradient * weights.mean()).norm() * direction.norm()
        assert scale > 0
        errors.append(((gradient * direction).sum() - difference).abs() / scale)
    return torch.stack(errors).median()


@pytest.mark.parametrize("defense", [case for case in EDGE_CASES if not case.values[0].is_differentiable])
def test_a_gradient_that_is_not_exact_is_that_of_the_surrogate(defense):
    images = smooth_image(24, 32).requires_grad_()
    weights = smooth_pattern(*defense.output_size((24, 32)), seed=1)
    (gradient,) = torch.autograd.grad(defense(images, 5), images, weights)
    assert gradient.norm() > 0
    if type(defense).straight_through is Defense.straight_through:
        (expected,) = torch.autograd.grad(defense.surrogate(images), images, weights)
        torch.testing.assert_close(gradient, expected)
