"""Colors that few photographs have: what a network saw too little of, it restores badly."""

import random

import torch
from torch import Tensor


def vivid(crops: Tensor, seed: int) -> Tensor:
    """Return crops, (N, 3, H, W) in [0, 1], each with colors, contrast and brightness of its own drawing, in 8 bits.

    Saturation is multiplied by 0.5 to 4, contrast by 1 to 2, gamma lies between 0.5 and 2, and red, green and blue
    change places; what leaves the range is clipped, as cameras do.
    """
    draw = random.Random(seed)
    return torch.stack([_colored(crop, draw) for crop in crops])


def _colored(crop: Tensor, draw: random.Random) -> Tensor:
    gray = crop.mean(dim=0, keepdim=True)
    crop = gray + 2 ** draw.uniform(-1, 2) * (crop - gray)
    middle = crop.mean()
    crop = (middle + 2 ** draw.uniform(0, 1) * (crop - middle)).clamp(0, 1)
    crop = crop**2 ** draw.uniform(-1, 1)
    return (crop[draw.sample(range(3), 3)] * 255).round() / 255
