import pytest
import torch

from models.defenses.color_quantization import ColorQuantization


@pytest.mark.parametrize("levels", [2, 5, 16, 256])
def test_only_that_many_levels_are_left_and_each_value_took_the_nearest(levels):
    values = torch.linspace(0, 1, 1200).view(1, 3, 20, 20)
    quantized = ColorQuantization(levels=levels)(values)
    torch.testing.assert_close(quantized.unique(), torch.linspace(0, 1, levels))
    assert (quantized - values).abs().max() <= 0.5 / (levels - 1) + 1e-6


def test_256_levels_keep_an_8_bit_image(picture):
    torch.testing.assert_close(ColorQuantization(levels=256)(picture), picture, rtol=0, atol=1e-7)


def test_the_gradient_passes_as_if_nothing_were_rounded(picture):
    images = picture.clone().requires_grad_()
    weights = torch.randn_like(picture)
    (gradient,) = torch.autograd.grad(ColorQuantization(levels=2)(images), images, weights)
    assert torch.equal(gradient, weights)
