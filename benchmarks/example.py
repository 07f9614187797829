"""The picture at the top of README: `python -m benchmarks.example PHOTO --out docs/example.jpg`.

A photograph, a blurred copy, and the copy again with a perturbation that makes the metric prefer it; below each what it
scores as it comes and behind a defense.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from models.attacks import parse_attack
from models.defenses import parse_defense
from models.filters import gaussian_blur
from models.images import ImageLimits, decode
from models.metrics import find_metric

METRIC = "fr-surrogate"
ATTACK = "ifgsm(epsilon=4)"
DEFENSE = "flip+jpeg"
KERNEL, SIGMA = 13, 1.5
"""Of the blur, in pixels."""
WIDTH, GAP, LINE = 340, 16, 30
GRAY, GREEN, RED = (90, 90, 90), (20, 120, 60), (190, 40, 40)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    photo, _ = decode(options.photo.read_bytes(), ImageLimits())
    metric, defense = find_metric(METRIC), parse_defense(DEFENSE)
    blurred = (gaussian_blur(photo, KERNEL, SIGMA) * 255).round() / 255
    attacked = parse_attack(ATTACK)(blurred, metric)
    images = {"a photograph": photo, "blurred": blurred, "blurred, and attacked": attacked}
    with torch.no_grad():
        scores = [(float(metric(image)), float(metric(defense(image, 1)))) for image in images.values()]
    draw(images, scores).save(options.out, quality=90)
    for title, (plain, defended) in zip(images, scores, strict=True):
        print(f"{title}: {plain:.0f}, behind the defense {defended:.0f}")


def draw(images: dict[str, Tensor], scores: list[tuple[float, float]]) -> Image.Image:
    """Return the images, (1, 3, H, W), in a row with their titles and scores below; green is the one that wins."""
    rows, columns = next(iter(images.values())).shape[2:]
    height = round(WIDTH * rows / columns)
    canvas = Image.new("RGB", (3 * WIDTH + 2 * GAP, height + 3 * LINE + 8), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(19)
    best = [max(of_one) for of_one in zip(*scores, strict=True)]
    for place, ((title, image), both) in enumerate(zip(images.items(), scores, strict=True)):
        left = place * (WIDTH + GAP)
        pixels = np.round(image[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        canvas.paste(Image.fromarray(pixels).resize((WIDTH, height), Image.Resampling.LANCZOS), (left, 0))
        pen.text((left, height + 6), title, GRAY, font)
        for line, (what, score, most) in enumerate(zip(("score", "defended"), both, best, strict=True), 1):
            color = GRAY if score < most else GREEN if place == 0 else RED
            pen.text((left, height + 6 + line * LINE), f"{what} {score:.0f}", color, font)
    return canvas


if __name__ == "__main__":
    main()
