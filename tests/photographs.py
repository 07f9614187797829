"""Photographs that scikit-image ships, as every test of quality uses them."""

import numpy as np
import torch
from skimage import data

NAMES = ("chelsea", "coffee", "astronaut", "rocket")


def pixels(name, side=256):
    """The center square of a photograph, uint8 RGB (side, side, 3)."""
    photo = getattr(data, name)()
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    return np.ascontiguousarray(photo[top : top + side, left : left + side])


def tensor(image):
    """Pixels as a batch of one, float32 in [0, 1], (1, 3, H, W)."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
