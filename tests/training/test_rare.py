"""Photographs in colors that were drawn for them."""

import torch
from known_photographs import NAMES, pixels, tensor

from training.colors import vivid

CROPS = torch.cat([tensor(pixels(name))[..., :96, :96] for name in NAMES] * 6)


def spread(images):
    return float((images.amax(1) - images.amin(1)).mean())


def test_colors_are_stronger_in_8_bits_and_decided_by_the_seed():
    told = vivid(CROPS, seed=5)
    assert torch.equal(told, vivid(CROPS, seed=5))
    assert not torch.equal(told, vivid(CROPS, seed=6))
    torch.testing.assert_close(told * 255, (told * 255).round(), rtol=0, atol=1e-4)
    assert 0 <= float(told.min()) < float(told.max()) <= 1
    assert spread(told) > 1.3 * spread(CROPS)


def test_a_crop_is_colored_alike_whatever_comes_after_it():
    torch.testing.assert_close(vivid(CROPS[:3], seed=1), vivid(CROPS, seed=1)[:3], rtol=0, atol=0)
