import cv2
import numpy as np
import pytest
import torch

from models.defenses.bilateral import Bilateral
from models.defenses.gaussian_blur import GaussianBlur


@pytest.mark.parametrize("sigma_color", [0.01, 0.1, 3])
@pytest.mark.parametrize("kernel", [3, 5, 15])
def test_torch_gives_the_answer_of_opencv(kernel, sigma_color, picture):
    bilateral = Bilateral(kernel=kernel, sigma_color=sigma_color)
    torch.testing.assert_close(bilateral._by_torch(picture), bilateral(picture), rtol=0, atol=5e-6)


def test_it_is_opencvs_filter(photo, picture):
    pixels = photo.astype(np.float32) / 255
    expected = cv2.bilateralFilter(pixels, 5, 0.1, 1.5, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(Bilateral()(picture)[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_an_edge_survives_that_a_gaussian_blurs():
    step = torch.full((1, 3, 20, 40), 0.2)
    step[..., 20:] = 0.8
    assert (Bilateral()(step) - step).abs().max() < 1e-4
    assert (GaussianBlur(kernel=5, sigma=1.5)(step) - step).abs().max() > 0.1


def test_equal_colors_are_averaged_whatever_the_distance_of_others():
    generator = torch.Generator().manual_seed(1)
    flat = 0.5 + 0.02 * torch.randn(1, 3, 64, 64, generator=generator)
    assert Bilateral(kernel=7, sigma_color=1)(flat).std() < 0.5 * flat.std()


def test_the_gradient_follows_the_weights_too():
    textured = torch.rand(1, 3, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(Bilateral(sigma_color=0.4)._by_torch, textured.requires_grad_())
