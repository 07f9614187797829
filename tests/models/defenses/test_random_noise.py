import pytest
import torch

from models.defenses.random_noise import RandomNoise


@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_the_noise_has_the_strength_asked_for_and_no_bias(sigma):
    gray = torch.full((1, 3, 200, 200), 0.5)
    noise = RandomNoise(sigma=sigma)(gray, 3) - gray
    assert abs(noise.std() / sigma - 1) < 0.02
    assert abs(noise.mean()) < 0.02 * sigma
    channels = noise[0].flatten(1)
    assert torch.corrcoef(channels).fill_diagonal_(0).abs().max() < 0.03


def test_no_strength_is_no_noise(picture):
    assert torch.equal(RandomNoise(sigma=0)(picture, 3), picture)
