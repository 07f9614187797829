import torch

from models.defenses.random_crop import RandomCrop


def coordinates(height, width):
    """An image whose pixels say where they come from."""
    y = torch.arange(height).view(1, 1, -1, 1).expand(1, 1, height, width) / 255
    x = torch.arange(width).view(1, 1, 1, -1).expand(1, 1, height, width) / 255
    return torch.cat([y, x, torch.zeros_like(x)], dim=1)


def test_a_crop_is_a_window_of_the_image():
    image = coordinates(50, 80)
    crop = RandomCrop(size=32)(image, 4)
    top, left = (round(crop[0, channel, 0, 0].item() * 255) for channel in (0, 1))
    assert torch.equal(crop, image[..., top : top + 32, left : left + 32])


def test_windows_reach_every_corner():
    crops = RandomCrop(size=16)(coordinates(18, 18).expand(200, -1, -1, -1), range(200))
    corners = {(round(crop[0, 0, 0].item() * 255), round(crop[1, 0, 0].item() * 255)) for crop in crops}
    assert corners == {(top, left) for top in range(3) for left in range(3)}


def test_a_side_shorter_than_the_crop_is_kept_whole():
    image = coordinates(20, 100)
    crop = RandomCrop(size=64)(image, 1)
    assert crop.shape == (1, 3, 20, 64)
    assert torch.equal(RandomCrop(size=128)(image, 1), image)


def test_aligning_pastes_each_crop_back_into_its_own_place():
    image = coordinates(50, 80).repeat(5, 1, 1, 1) + 1 / 255
    crop = RandomCrop(size=32)
    aligned = crop.align(crop(image, range(5)), (50, 80), range(5))
    assert aligned.valid.sum(dim=(1, 2, 3)).tolist() == [32 * 32] * 5
    assert torch.equal(aligned.images, image * aligned.valid)
    assert not torch.equal(aligned.valid[0], aligned.valid[1])
