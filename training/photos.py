"""Photographs to train on: held in memory, cut into crops that a step's number alone decides."""

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

FACTORS = (2, 3)
"""By how much photographs are shrunk."""
SHRUNK_SHARE = 0.4
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def photographs(folder: Path) -> list[Path]:
    """Return the photographs in and below a folder, in the order of their names. Raises ValueError for none."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{folder} holds no photographs")
    return files


class Photos:
    """The photographs of a folder, uint8 RGB, split into those to train on and a few that are held out."""

    def __init__(self, folder: Path, held_out: int = 10) -> None:
        """Read every photograph in `folder`; `held_out` of them serve to watch the training. Raises ValueError."""
        files = photographs(folder)
        if len(files) <= held_out:
            raise ValueError(f"{folder} holds {len(files)} photographs; more than {held_out} are needed")
        random.Random(0).shuffle(files)
        self.files = files[held_out:]
        self._watched = [_read(file) for file in files[:held_out]]
        self._photos = [_read(file) for file in self.files]
        self._shrunk = [_shrink(photo, factor) for photo in self._photos for factor in FACTORS]

    def watched(self, side: int = 256) -> Tensor:
        """Return the center crops of the held-out photographs, float32 in [0, 1], (N, 3, side, side).

        Raises ValueError for one that is smaller.
        """
        return torch.stack([_center(photo, side) for photo in self._watched]).float() / 255

    def crops(self, count: int, side: int, seed: int) -> Tensor:
        """Return random crops, turned and mirrored, float32 in [0, 1], (count, 3, side, side).

        Larger photographs give more; two in five crops are of shrunk ones, which are sharper. The same seed gives the
        same crops, so that a run that is resumed goes on as if it had never stopped. Raises ValueError where no
        photograph is as large.
        """
        draw = random.Random(seed)
        photos, shrunk = _large(self._photos, side), _large(self._shrunk, side)
        if not photos:
            raise ValueError(f"no photograph has {side} pixels on every side")
        crops = []
        for _ in range(count):
            pool = shrunk if shrunk and draw.random() < SHRUNK_SHARE else photos
            (photo,) = draw.choices(pool, [photo.shape[1] * photo.shape[2] for photo in pool])
            crops.append(_crop(photo, side, draw))
        return torch.stack(crops).float() / 255


def _large(photos: list[Tensor], side: int) -> list[Tensor]:
    return [photo for photo in photos if min(photo.shape[1:]) >= side]


def _read(file: Path) -> Tensor:
    with Image.open(file) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _shrink(photo: Tensor, factor: int) -> Tensor:
    height, width = (max(1, edge // factor) for edge in photo.shape[1:])
    shrunk = F.interpolate(photo[None].float(), (height, width), mode="bicubic", antialias=True)
    return shrunk[0].round().clamp(0, 255).to(torch.uint8)


def _center(photo: Tensor, side: int) -> Tensor:
    top, left = (photo.shape[1] - side) // 2, (photo.shape[2] - side) // 2
    if min(top, left) < 0:
        raise ValueError(f"a held-out photograph has {photo.shape[2]}x{photo.shape[1]} pixels, less than {side}")
    return photo[:, top : top + side, left : left + side]


def _crop(photo: Tensor, side: int, draw: random.Random) -> Tensor:
    top, left = draw.randint(0, photo.shape[1] - side), draw.randint(0, photo.shape[2] - side)
    crop = torch.rot90(photo[:, top : top + side, left : left + side], draw.randrange(4), (1, 2))
    return crop.flip(2) if draw.random() < 0.5 else crop
