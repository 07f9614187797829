import pytest
import torch

from models.defenses.diffjpeg import DiffJpeg
from models.defenses.jpeg import Jpeg


def colors(height, width):
    """Spots of every color: the hardest content for subsampled color."""
    spots = torch.rand(1, 3, height // 2, width // 2, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(spots, scale_factor=2, mode="bicubic").clamp(0, 1)


def levels_between(one, other):
    return (one - other).abs() * 255


@pytest.mark.parametrize("size", [(96, 128), (95, 127), (24, 26), (26, 40), (17, 33), (16, 16)], ids=str)
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("quality", [5, 30, 50, 75, 95])
def test_the_image_is_that_of_the_real_codec_but_for_a_few_ties(quality, subsampling, size, picture):
    images = torch.cat([picture, picture.flip(3), 1 - picture, colors(96, 128)])[..., : size[0], : size[1]]
    images = (images * 255).round() / 255
    options = {"quality": quality, "subsampling": subsampling}
    difference = levels_between(DiffJpeg(**options)(images), Jpeg(**options)(images))
    for part in (difference, difference[..., -10:], difference[..., -10:, :]):  # the last blocks are extended
        assert (part < 0.5).float().mean() > 0.85  # one tie moves a whole block
        assert part.mean() < 0.3


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_polynomial_rounding_stays_near_the_real_codec(quality, picture):
    difference = levels_between(
        DiffJpeg(quality=quality, rounding="polynomial")(picture), Jpeg(quality=quality)(picture)
    )
    assert difference.mean() < 3
    assert difference.mean() < levels_between(picture, Jpeg(quality=quality)(picture)).mean()


def test_the_gradient_knows_that_color_is_kept_at_half_the_resolution(picture):
    # A checkerboard of red against cyan is gone after subsampling; in brightness it is kept.
    checker = 1 - 2 * ((torch.arange(96)[:, None] + torch.arange(128)) % 2).float()
    red_against_cyan = torch.stack([checker * 0.701, checker * -0.299, checker * -0.299])[None]
    images = picture.clone().requires_grad_()
    codec = DiffJpeg()
    (color,) = torch.autograd.grad(codec(images), images, red_against_cyan)
    (brightness,) = torch.autograd.grad(codec(images), images, checker.expand(1, 3, -1, -1))
    assert color.norm() < 0.05 * brightness.norm()


def test_white_and_black_pass_their_gradient():
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 16, 16).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(DiffJpeg()(images).sum(), images)
    torch.testing.assert_close(gradient, torch.ones_like(images), rtol=0, atol=1e-4)
