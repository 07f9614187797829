"""A picture to judge diffusion purification by: `python -m benchmarks.sheet PHOTO... --out sheet.jpg`.

A row per photograph: the center as it came, then the result of each defense, pixel by pixel; below it their differences
from the original, ten times as strong around gray.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.purify import center
from models.defenses import make_defense
from models.images import ImageFormat, ImageLimits, decode, encode

COLUMNS: dict[str, dict[str, object]] = {
    **{f"t = {timestep}": {"name": "diffpure", "timestep": timestep} for timestep in (5, 10, 30, 100)},
    "t = 30, unsharp": {"name": "diffpure-unsharp"},
    "t = 30, edges": {"name": "diffpure-edges"},
    "random phase": {"name": "diffpure-random-phase"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=192)
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    rows = [titles(options.side)]
    for file in options.photos:
        photo = center(decode(file.read_bytes(), ImageLimits())[0], options.side)
        results = [make_defense(parameters)(photo, 1) for parameters in COLUMNS.values()]
        rows.append(torch.cat([photo, *results], dim=3))
        differences = [(0.5 + 10 * (result - photo)).clamp(0, 1) for result in results]
        rows.append(torch.cat([torch.full_like(photo, 0.5), *differences], dim=3))
    options.out.write_bytes(encode(torch.cat(rows, dim=2), ImageFormat.JPEG))


def titles(side: int) -> Tensor:
    strip = np.full((24, side * (1 + len(COLUMNS)), 3), 255, np.uint8)
    for index, title in enumerate(["original", *COLUMNS]):
        cv2.putText(strip, title, (index * side + 6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return torch.from_numpy(strip).permute(2, 0, 1)[None].float() / 255


if __name__ == "__main__":
    main()
