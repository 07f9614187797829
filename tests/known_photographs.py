"""Real photographs to test metrics with, from scikit-image."""

import numpy as np
import pytest
import skimage.data
import torch

NAMES = ("chelsea", "coffee", "astronaut", "rocket")
EVERY_PHOTOGRAPH = pytest.mark.parametrize("photograph", NAMES)
WHOLE_AND_ODD = pytest.mark.parametrize("cut", [(0, 0), (7, 13)], ids=["whole", "odd"])


def load(name, cut=(0, 0)):
    """Return a photograph, (1, 3, H, W) in [0, 1], without some rows below and columns on the right."""
    pixels = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)[None].float() / 255
    return pixels[..., : pixels.shape[2] - cut[0], : pixels.shape[3] - cut[1]]


def pixels(name, side=256):
    """Return the center square of a photograph, uint8 RGB (side, side, 3)."""
    photo = getattr(skimage.data, name)()
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    return np.ascontiguousarray(photo[top : top + side, left : left + side])


def crop(name, top, left, height=96, width=128):
    """Return a part of a photograph, (1, 3, height, width) in [0, 1]."""
    return load(name)[..., top : top + height, left : left + width].contiguous()


def tensor(image):
    """Return uint8 pixels as a batch of one, float32 in [0, 1], (1, 3, H, W)."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
