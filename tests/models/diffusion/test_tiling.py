import pytest
import torch
from skimage.data import astronaut

from models.diffusion.denoiser import Denoiser
from models.diffusion.denoisers import find_denoiser
from models.diffusion.tiling import Tiled, pad_to, spans
from models.noise import Noise


class Brightening(Denoiser):
    """Depends on the whole tile, as normalization does: tiles of it can only be blended."""

    name = "brightening"
    license = "-"
    multiple = 8
    tile = 64

    def __init__(self):
        self.sizes = []

    def mean(self, noisy, sigma):
        self.sizes.append(tuple(noisy.shape[2:]))
        return noisy + 0.01 * noisy.mean(dim=(1, 2, 3), keepdim=True)


def noisy_picture(height, width, count=1):
    generator = torch.Generator().manual_seed(height * width)
    return torch.rand((count, 3, height, width), generator=generator)


@pytest.mark.parametrize("cells", [1, 15, 16, 32, 45])
@pytest.mark.parametrize("size", [(64, 91), (33, 150)])
@pytest.mark.parametrize("name", ["ffdnet", "ffdnet-pyramid"])
def test_tiles_of_a_shipped_network_are_the_whole_image(name, size, cells, monkeypatch):
    monkeypatch.setenv("PURIFIQA_PRECISION", "float32")
    denoiser, sigma = find_denoiser(name), torch.tensor([0.05])
    tile = cells * denoiser.multiple
    if cells == 1:
        size = (18, 20)
    image = noisy_picture(*size)
    whole = Tiled(denoiser, 1024).mean(image, sigma)
    tiled = Tiled(denoiser, tile).mean(image, sigma)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=2e-5)


class Checkered(Denoiser):
    """Looks three pixels far, and knows of every pixel where in its cell of four by four it lies."""

    name = "checkered"
    license = "-"
    multiple = 4
    halo = 3

    def mean(self, noisy, sigma):
        inner = torch.arange(16.0).view(4, 4).repeat(noisy.shape[2] // 4, noisy.shape[3] // 4)
        return inner + torch.nn.functional.avg_pool2d(noisy, 7, stride=1, padding=3)


@pytest.mark.parametrize("tile", [4, 8, 20])
def test_tiles_begin_where_a_cell_of_the_network_does_whatever_its_halo(tile):
    image, sigma = noisy_picture(44, 61), torch.tensor([0.1])
    whole = Tiled(Checkered(), 64).mean(image, sigma)
    torch.testing.assert_close(Tiled(Checkered(), tile).mean(image, sigma), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tile", [30, 96])
def test_in_bfloat16_tiles_differ_from_the_whole_photograph_by_rounding_only(tile, monkeypatch):
    """With AMX the order of sums, and so the rounding, depends on a tile's shape: one level at most, and no seam."""
    monkeypatch.setenv("PURIFIQA_PRECISION", "bfloat16")
    photo = torch.from_numpy(astronaut()[:200, 150:350].copy()).permute(2, 0, 1)[None].float() / 255
    noisy, sigma = photo + 0.05 * Noise([1]).normal_like(photo), torch.tensor([0.05])
    denoiser = find_denoiser("ffdnet")
    difference = Tiled(denoiser, tile).mean(noisy, sigma) - denoiser.mean(noisy, sigma)
    assert float(difference.abs().max()) < 1 / 255
    assert float(difference.square().mean().sqrt()) < 0.1 / 255


def test_a_tile_that_cannot_be_smaller_is_blended_too():
    denoiser = Brightening()
    image = noisy_picture(40, 56)
    tiled = Tiled(denoiser, denoiser.multiple).mean(image, torch.tensor([0.05]))
    assert set(denoiser.sizes) == {(8, 8)}
    assert 0 < float((tiled - image).min()) < float((tiled - image).max()) < 0.01


def test_a_halo_that_is_too_small_would_be_seen():
    denoiser, image = find_denoiser("ffdnet"), noisy_picture(64, 90)
    short = type(denoiser)()
    short.halo = 6
    sigma = torch.tensor([0.05])
    assert (Tiled(short, 32).mean(image, sigma) - Tiled(denoiser, 1024).mean(image, sigma)).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (65, 64), (17, 200), (150, 131)])
def test_blended_tiles_cover_any_size_without_a_seam(size):
    denoiser = Brightening()
    image = torch.full((2, 3, *size), 0.5)
    result = Tiled(denoiser).mean(image, torch.tensor([0.1, 0.1]))
    assert result.shape == image.shape
    torch.testing.assert_close(result, image + 0.005)
    assert all(height % 8 == width % 8 == 0 and max(height, width) <= 64 for height, width in denoiser.sizes)


@pytest.mark.parametrize("width", [112, 114, 120, 130, 160])
def test_blended_tiles_change_gradually_also_where_three_of_them_meet(width):
    denoiser = Brightening()
    image = torch.zeros(1, 3, 64, width)
    image[..., width // 2 :] = 1
    change = (Tiled(denoiser).mean(image, torch.tensor([0.1])) - image)[0, 0, 30]
    assert change.diff().abs().max() < 0.001
    assert change[-1] - change[0] > 0.001


@pytest.mark.parametrize("side", [257, 299, 458, 480, 512, 642, 1080])
def test_no_tile_takes_over_from_another_within_a_pixel(side):
    tiles = spans(side, tile=256, margin=64, exact=False)
    weights = torch.zeros(len(tiles), side)
    for weight, tile in zip(weights, tiles, strict=True):
        weight[tile.start : tile.stop] = tile.window()
    assert (weights / weights.sum(dim=0)).diff(dim=1).abs().max() < 1.6 / 64


def test_tiles_go_with_every_step_of_a_chain_too():
    denoiser = find_denoiser("ffdnet")
    x = 2 * noisy_picture(40, 70) - 1
    torch.testing.assert_close(Tiled(denoiser, 32).epsilon(x, 20), denoiser.epsilon(x, 20), rtol=0, atol=1e-3)


def test_gradients_flow_through_tiles():
    image = noisy_picture(40, 70).requires_grad_()
    Tiled(find_denoiser("ffdnet"), 32).mean(image, torch.tensor([0.05])).sum().backward()
    assert image.grad.abs().min() > 0


def test_a_tile_that_the_network_cannot_take_is_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        Tiled(Brightening(), 60)


@pytest.mark.parametrize(("size", "multiple", "expected"), [((16, 17), 8, (16, 24)), ((17, 16), 32, (32, 32))])
def test_padding_continues_the_image(size, multiple, expected):
    image = noisy_picture(*size)
    padded = pad_to(image, multiple)
    assert padded.shape[2:] == expected
    assert torch.equal(padded[..., : size[0], : size[1]], image)


def test_padding_mirrors_the_image_about_its_last_pixels_and_repeats_them_where_it_is_too_small_for_that():
    image = noisy_picture(18, 21)
    padded = pad_to(image, 8)
    assert torch.equal(padded[..., 18:, :21], image[..., 11:17, :].flip(2))
    assert torch.equal(padded[..., :18, 21:], image[..., 17:20].flip(3))
    small = pad_to(image[..., :3, :], 8)
    assert torch.equal(small[..., 3:, :21], image[..., 2:3, :].expand(-1, -1, 5, -1))
