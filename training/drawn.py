"""Pictures that no camera took: paintings of flat shapes, and what screens show."""

import functools
import random
import string
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SHAPES = 60
"""Shapes painted over each other in `painted`."""
FONTS = ("DejaVuSans", "DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
"""Files that matplotlib carries."""
SMOOTH = 3
"""How much larger shapes are painted before they are shrunk, because Pillow paints without smooth edges."""


def painted(crops: Tensor, seed: int) -> Tensor:
    """Return paintings of ellipses, lines and triangles over each other, as many and as large as crops (N, 3, H, W).

    Sizes follow a power law, so that as in nature each scale shows as much as any other ("dead leaves"; Lee, Mumford
    and Huang 2001). Colors are drawn from the crop or at random; edges are smoothed as by a lens.
    """
    draw = random.Random(seed)
    return torch.stack([_painted(crop, draw) for crop in crops])


def typed(crops: Tensor, seed: int) -> Tensor:
    """Return what a screen may show, as many and as large as crops (N, 3, H, W): text, boxes, rules and curves.

    The paper is light or dark, here and there lies a piece of the crop. Text and curves have smooth edges as screens
    draw them, boxes and rules the hard ones of whole pixels.
    """
    draw = random.Random(seed)
    return torch.stack([_typed(crop, draw) for crop in crops])


def _painted(crop: Tensor, draw: random.Random) -> Tensor:
    height, width = crop.shape[1:]
    canvas = Image.new("RGB", (SMOOTH * width, SMOOTH * height), _color(crop, draw))
    brush = ImageDraw.Draw(canvas)
    for _ in range(SHAPES):
        radius = SMOOTH * 1.5 / (1 - 0.95 * draw.random()) ** 1.2
        x, y = draw.uniform(0, canvas.width), draw.uniform(0, canvas.height)
        points = [(x + draw.uniform(-radius, radius), y + draw.uniform(-radius, radius)) for _ in range(3)]
        shape, color = draw.randrange(3), _color(crop, draw)
        if shape == 0:
            flat = draw.uniform(0.3, 1) * radius
            brush.ellipse((x - radius, y - flat, x + radius, y + flat), fill=color)
        elif shape == 1:
            brush.line(points[:2], fill=color, width=draw.randint(SMOOTH, 3 * SMOOTH))
        else:
            brush.polygon(points, fill=color)
    return _tensor(canvas.resize((width, height), Image.Resampling.BOX))


def _typed(crop: Tensor, draw: random.Random) -> Tensor:
    height, width = crop.shape[1:]
    dark = draw.random() < 0.3
    screen = Image.new("RGB", (width, height), _shade(draw, dark=dark))
    for _ in range(draw.randint(2, 7)):
        left, top = draw.randint(-width // 4, 2 * width // 3), draw.randint(-height // 4, 2 * height // 3)
        right, bottom = left + draw.randint(width // 4, width), top + draw.randint(height // 8, height)
        box = (left, top, right, bottom)
        kind = draw.randrange(7)
        if kind == 0:
            pixels = (crop * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            screen.paste(Image.fromarray(pixels).crop((0, 0, right - left, bottom - top)), (left, top))
        elif kind == 1:
            edge = _ink(draw, dark=dark) if draw.random() < 0.5 else None
            ImageDraw.Draw(screen).rectangle(box, _color(crop, draw), edge, draw.randint(1, 2))
        elif kind == 2:
            _curve(screen, box, _color(crop, draw), draw)
        elif kind == 3:
            _rules(screen, box, _ink(draw, dark=dark), draw)
        else:
            _text(screen, box, _ink(draw, dark=dark), draw)
    return _tensor(screen)


def _text(screen: Image.Image, box: tuple[int, int, int, int], ink: tuple[int, int, int], draw: random.Random) -> None:
    left, top, right, bottom = box
    size = round(10 * 2 ** draw.uniform(0, 2))
    font, brush = _font(draw.choice(FONTS), size), ImageDraw.Draw(screen)
    for line in range(top, bottom - size, round(draw.uniform(1.2, 1.7) * size)):
        words: list[str] = []
        while 0.55 * size * sum(len(word) + 1 for word in words) < (right - left) * draw.uniform(0.6, 1):
            words.append("".join(draw.choices(string.ascii_lowercase, k=draw.randint(1, 10))))
            if draw.random() < 0.25:
                words[-1] = words[-1].title() if draw.random() < 0.5 else str(draw.randrange(10**4) / 100)
        brush.text((left, line), " ".join(words), ink, font)


def _curve(screen: Image.Image, box: tuple[int, int, int, int], ink: tuple[int, int, int], draw: random.Random) -> None:
    left, top, right, bottom = box
    mask = Image.new("L", [SMOOTH * edge for edge in screen.size])
    brush, points, y = ImageDraw.Draw(mask), [], draw.random()
    for x in range(left, right, draw.choice([2, 8, 24])):
        y = min(1.0, max(0.0, y + draw.gauss(0, 0.08)))
        points.append((SMOOTH * x, SMOOTH * (top + y * (bottom - top))))
    brush.line(points, 255, draw.randint(SMOOTH, 3 * SMOOTH), joint="curve")
    if draw.random() < 0.5:
        for x, middle in points[:: draw.randint(1, 4)]:
            brush.circle((x, middle), draw.randint(2, 5) * SMOOTH, 255)
    screen.paste(ink, mask=mask.resize(screen.size, Image.Resampling.BOX))


def _rules(screen: Image.Image, box: tuple[int, int, int, int], ink: tuple[int, int, int], draw: random.Random) -> None:
    left, top, right, bottom = box
    brush, gap = ImageDraw.Draw(screen), draw.randint(8, 48)
    for y in range(top, bottom, gap):
        brush.line((left, y, right, y), ink)
    for x in range(left, right, gap * draw.randint(1, 4)):
        brush.line((x, top, x, bottom), ink)


@functools.cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


def _shade(draw: random.Random, *, dark: bool) -> tuple[int, int, int]:
    """Return a color of paper: white half of the time, or near white, or near black."""
    if not dark and draw.random() < 0.5:
        return 255, 255, 255
    low, high = (10, 55) if dark else (225, 255)
    return draw.randint(low, high), draw.randint(low, high), draw.randint(low, high)


def _ink(draw: random.Random, *, dark: bool) -> tuple[int, int, int]:
    low, high = (150, 255) if dark else (0, 110)
    value = draw.randint(low, high)
    if draw.random() < 0.6:
        return value, value, value
    return draw.randint(low, high), value, draw.randint(low, high)


def _color(crop: Tensor, draw: random.Random) -> tuple[int, int, int]:
    if draw.random() < 0.5:
        return draw.randrange(256), draw.randrange(256), draw.randrange(256)
    red, green, blue = (crop[:, draw.randrange(crop.shape[1]), draw.randrange(crop.shape[2])] * 255).int().tolist()
    return red, green, blue


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image, np.float32) / 255).permute(2, 0, 1)
