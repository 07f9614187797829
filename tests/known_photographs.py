"""Real photographs to test metrics with, from scikit-image."""

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
