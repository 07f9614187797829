import pytest
import torch

from models.defenses.resize import Resize
from models.defenses.upscale import Upscale


@pytest.mark.parametrize(
    ("scale", "before", "after"),
    [
        (0.5, (299, 299), (149, 149)),  # the paper's
        (0.29, (100, 300), (29, 87)),  # 100 * 0.29 is 28.999999999999996
        (0.1, (100, 512), (16, 51)),  # not below the smallest image
        (1, (17, 33), (17, 33)),
    ],
)
def test_sides_are_rounded_down_but_not_below_the_smallest_image(scale, before, after):
    assert Resize(scale=scale).output_size(before) == after


def test_halving_with_antialiasing_keeps_the_mean_and_without_it_averages_two_by_two(picture):
    assert abs(Resize()(picture).mean() - picture.mean()) < 2e-3
    plain = Resize(antialias=False)(picture)
    torch.testing.assert_close(plain, torch.nn.functional.avg_pool2d(picture, 2), rtol=0, atol=1e-6)


def test_antialiasing_removes_the_stripes_that_plain_sampling_folds_into_slow_ones():
    stripes = 0.5 + 0.5 * torch.sin(torch.arange(200) * torch.pi * 0.9).expand(1, 3, 100, 200)
    assert Resize(scale=0.25)(stripes).std() < 0.1 * Resize(scale=0.25, antialias=False)(stripes).std()


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [0.1, 0.37, 0.5, 0.9])
def test_scaling_down_and_up_does_not_move_the_image(mode, scale):
    ramp = torch.linspace(0.2, 0.8, 201).expand(1, 3, 61, 201)
    scaled = Upscale(mode=mode, scale=scale)(ramp)
    slope = 0.6 / 200
    shift = (scaled + scaled.flip(3) - 1).mean() / 2 / slope  # a ramp is odd about its middle, unless it was moved
    assert abs(shift) < 0.05
    assert (scaled - ramp).abs().max() < slope * 10.1


def test_each_mode_scales_back_in_its_own_way():
    wave = (0.5 + 0.4 * torch.sin(torch.arange(128) / 5)).expand(1, 3, 96, 128)
    nearest, bilinear, bicubic = (Upscale(mode=mode)(wave) for mode in ("nearest", "bilinear", "bicubic"))
    assert torch.equal(nearest[..., ::2, ::2], nearest[..., 1::2, 1::2])
    errors = [(result - wave).square().mean() for result in (nearest, bilinear, bicubic)]
    assert errors == sorted(errors, reverse=True)


def test_the_papers_way_down_skips_between_pixels():
    image = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(1))
    plain = Upscale(scale=0.25, mode="nearest", antialias=False)(image)
    middles = (image[..., 1::4, :] + image[..., 2::4, :]) / 2
    middles = (middles[..., 1::4] + middles[..., 2::4]) / 2
    torch.testing.assert_close(plain, middles.repeat_interleave(4, 2).repeat_interleave(4, 3), rtol=0, atol=1e-6)
