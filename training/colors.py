"""Colors that few photographs have: of what a network saw too little, it judges and restores badly."""

import random

import torch
from torch import Tensor


def vivid(crops: Tensor, seed: int, much: float = 1) -> Tensor:
    """Return crops, (N, 3, H, W) in [0, 1], each with colors, contrast and brightness of its own drawing, in 8 bits.

    At `much` 1 saturation is multiplied by 0.5 to 4, contrast by 1 to 2, gamma lies between 0.5 and 2, and red, green
    and blue change places; what leaves the range is clipped, as cameras do. Less than 1, for judging quality, stays
    within what photographs are: the exponents of these factors are so much smaller, and colors keep their places.
    """
    draw = random.Random(seed)
    return torch.stack([_colored(crop, draw, much) for crop in crops])


def _colored(crop: Tensor, draw: random.Random, much: float) -> Tensor:
    gray = crop.mean(dim=0, keepdim=True)
    crop = gray + 2 ** (much * draw.uniform(-1, 2)) * (crop - gray)
    middle = crop.mean()
    crop = (middle + 2 ** (much * draw.uniform(0, 1)) * (crop - middle)).clamp(0, 1)
    crop = crop**2 ** (much * draw.uniform(-1, 1))
    if much >= 1:
        crop = crop[draw.sample(range(3), 3)]
    return (crop * 255).round() / 255
