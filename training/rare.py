"""What photographs seldom show: what a network saw too little of, it restores badly."""

import itertools
import math
import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.drawn import painted

SEEDS_PER_CALL = 1000
"""More than crops in a call: the next seed is not to draw what this one drew for the next crop."""


def rare(crops: Tensor, seed: int) -> Tensor:
    """Return crops, (N, 3, H, W) in [0, 1], made into rare ones in 8 bits: each kind in turn, the first by the seed.

    The kinds: `vivid` (twice as often), `gray`, `mixed`, `enlarged`, `painted`.
    """
    kinds: list[Callable[[Tensor, int], Tensor]] = [vivid, gray, vivid, mixed, enlarged, painted]
    turns = itertools.islice(itertools.cycle(kinds), seed % len(kinds), seed % len(kinds) + len(crops))
    made = []
    for index, kind in enumerate(turns):
        # only `mixed` looks at other crops than its own
        given = crops.roll(-index, 0) if kind is mixed else crops[index : index + 1]
        made.append(kind(given, SEEDS_PER_CALL * seed + index)[0])
    return torch.stack(made)


def vivid(crops: Tensor, seed: int) -> Tensor:
    """Return crops, (N, 3, H, W) in [0, 1], each with colors, contrast and brightness of its own drawing, in 8 bits.

    Saturation is multiplied by 0.5 to 4, contrast by 1 to 2, gamma lies between 0.5 and 2, and red, green and blue
    change places; what leaves the range is clipped, as cameras do.
    """
    draw = random.Random(seed)
    return _in_8_bits(torch.stack([_toned(crop, draw, 1)[draw.sample(range(3), 3)] for crop in crops]))


def toned(crops: Tensor, seed: int) -> Tensor:
    """Return crops, (N, 3, H, W), as `vivid` does, half as strongly and without red, green and blue changing places.

    This is about as far as photographs go, and those who develop them.
    """
    draw = random.Random(seed)
    return _in_8_bits(torch.stack([_toned(crop, draw, 0.5) for crop in crops]))


def gray(crops: Tensor, seed: int) -> Tensor:
    """Return crops, (N, 3, H, W), without color, or, one in two, with a single faint one as old prints have."""
    draw = random.Random(seed)
    tints = [[draw.uniform(0.8, 1.0) for _ in range(3)] if draw.random() < 0.5 else [1.0] * 3 for _ in crops]
    return _in_8_bits(crops.mean(dim=1, keepdim=True) * torch.tensor(tints).view(-1, 3, 1, 1))


def mixed(crops: Tensor, seed: int) -> Tensor:
    """Return crops, (N, 3, H, W), whose red, green and blue are of different ones: color as sharp as brightness.

    Cameras and JPEG keep color at half the resolution, so that photographs hardly show that.
    """
    draw = random.Random(seed)
    made = []
    for index in range(len(crops)):
        own, others = crops[index], [crops[draw.randrange(len(crops))] for _ in range(3)]
        other = torch.stack([crop[channel] for channel, crop in enumerate(others)])
        made.append(own.lerp(other, draw.uniform(0.2, 1)))
    return _in_8_bits(torch.stack(made))


def enlarged(crops: Tensor, seed: int, most: float = 4.0) -> Tensor:
    """Return parts of crops, (N, 3, H, W), enlarged to their whole by 1.2 to `most`: smooth and without texture."""
    draw = random.Random(seed)
    made = []
    for crop in crops:
        height, width = (round(edge / draw.uniform(1.2, most)) for edge in crop.shape[1:])
        part = crop[None, :, :height, :width]
        made.append(F.interpolate(part, crop.shape[1:], mode="bicubic", align_corners=False)[0])
    return _in_8_bits(torch.stack(made))


def unfocused(crops: Tensor, seed: int) -> Tensor:
    """Return crops, (N, 3, H, W), out of focus in places, as behind a wide open lens."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for crop in crops:
        sharp = torch.rand(1, 1, 4, 4, generator=draw) * 6 - 3
        sharp = F.interpolate(sharp, crop.shape[1:], mode="bicubic", align_corners=True)[0].sigmoid()
        sigma = 1 + 2 * float(torch.rand((), generator=draw))
        radius = math.ceil(3 * sigma)
        line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
        line = line / line.sum()
        padded = F.pad(crop[:, None], [radius] * 4, mode="reflect")
        blurred = F.conv2d(F.conv2d(padded, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))[:, 0]
        made.append(blurred.lerp(crop, sharp))
    return _in_8_bits(torch.stack(made))


def cutout(crops: Tensor, seed: int) -> Tensor:
    """Return crops, (N, 3, H, W), seen in 1 to 12 ellipses and rounded boxes on white, black or one other color.

    So are products photographed for a shop: a ground of exactly one value, and things with sharp edges on it.
    """
    draw = random.Random(seed)
    return _in_8_bits(torch.stack([_cutout(crop, draw) for crop in crops]))


def _toned(crop: Tensor, draw: random.Random, strength: float) -> Tensor:
    grays = crop.mean(dim=0, keepdim=True)
    crop = grays + 2 ** draw.uniform(-strength, 2 * strength) * (crop - grays)
    middle = crop.mean()
    crop = (middle + 2 ** draw.uniform(0, strength) * (crop - middle)).clamp(0, 1)
    return crop**2 ** draw.uniform(-strength, strength)


def _cutout(crop: Tensor, draw: random.Random) -> Tensor:
    height, width = crop.shape[1:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    depth = torch.full((height, width), -1.0)
    for _ in range(draw.randint(1, 12)):
        length = draw.uniform(0.08, 0.4) * min(height, width)
        breadth = draw.uniform(0.4, 1) * length
        turn = draw.uniform(0, math.pi)
        right, down = x - draw.uniform(0, width), y - draw.uniform(0, height)
        along = (math.cos(turn) * right + math.sin(turn) * down) / length
        across = (math.cos(turn) * down - math.sin(turn) * right) / breadth
        power = draw.choice([2, 2, 2, 6])
        distance = (along.abs() ** power + across.abs() ** power) ** (1 / power)
        depth = torch.maximum(depth, (1 - distance) * breadth)
    ground = draw.choice([(1.0,) * 3, (1.0,) * 3, (0.0,) * 3, tuple(draw.random() for _ in range(3))])
    # half a pixel of edge on either side, as a lens leaves it
    return torch.tensor(ground).view(3, 1, 1).lerp(crop, (depth + 0.5).clamp(0, 1))


def _in_8_bits(crops: Tensor) -> Tensor:
    return (crops.clamp(0, 1) * 255).round() / 255
