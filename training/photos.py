"""Photographs to train on: held in memory, cut into crops that a step's number alone decides."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

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
        self._areas = [photo.shape[1] * photo.shape[2] for photo in self._photos]

    def watched(self, side: int = 256) -> Tensor:
        """Return the center crops of the held-out photographs, float32 in [0, 1], (N, 3, side, side)."""
        return torch.stack([_center(photo, side) for photo in self._watched]).float() / 255

    def crops(self, count: int, side: int, seed: int) -> Tensor:
        """Return random crops, turned and mirrored, float32 in [0, 1], (count, 3, side, side).

        Larger photographs give more. The same seed gives the same crops, so that a run that is resumed goes on as if it
        had never stopped.
        """
        draw = random.Random(seed)
        return torch.stack([_crop(photo, side, draw) for photo in self._choose(count, draw)]).float() / 255

    def _choose(self, count: int, draw: random.Random) -> Sequence[Tensor]:
        return draw.choices(self._photos, self._areas, k=count)


def _read(file: Path) -> Tensor:
    with Image.open(file) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _center(photo: Tensor, side: int) -> Tensor:
    top, left = (photo.shape[1] - side) // 2, (photo.shape[2] - side) // 2
    return photo[:, top : top + side, left : left + side]


def _crop(photo: Tensor, side: int, draw: random.Random) -> Tensor:
    top, left = draw.randint(0, photo.shape[1] - side), draw.randint(0, photo.shape[2] - side)
    crop = torch.rot90(photo[:, top : top + side, left : left + side], draw.randrange(4), (1, 2))
    return crop.flip(2) if draw.random() < 0.5 else crop
