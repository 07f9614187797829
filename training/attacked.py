"""Crops of photographs beside what an attack made of them: what a purifying network learns from."""

import json
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.attack import Attack
from models.metric import Metric
from training.distorted import anywhere
from training.photos import photographs

ORIGIN = "made-from.json"


class Pairs(NamedTuple):
    """Crops and the same crops attacked."""

    clean: Tensor
    """Uint8 RGB, (N, 3, side, side)."""
    attacked: Tensor
    """Uint8 RGB, (N, 3, side, side)."""

    def batch(self, which: Tensor, crop: int, draw: random.Random) -> tuple[Tensor, Tensor]:
        """Return some pairs, attacked and clean, each cut to a random square: float32 in [0, 1], (N, 3, crop, crop)."""
        stack = torch.stack([self.attacked[which], self.clean[which]])
        most = stack.shape[-1] - crop
        cut = []
        for index in range(len(which)):
            top, left = draw.randint(0, most), draw.randint(0, most)
            cut.append(stack[:, index, :, top : top + crop, left : left + crop])
        attacked, clean = torch.stack(cut, dim=1).float() / 255
        return attacked, clean


def curves(pairs: Pairs) -> Tensor:
    """Return what each level became in each channel of each pair, uint8 (N, 3, 256), if only curves were changed.

    Levels that do not occur lie between those that do.
    """
    levels, tables = np.arange(256), np.empty((len(pairs.clean), 3, 256), np.uint8)
    for row, clean, attacked in zip(tables, pairs.clean.numpy(), pairs.attacked.numpy(), strict=True):
        for channel in range(3):
            found, first = np.unique(clean[channel], return_index=True)
            row[channel] = np.interp(levels, found, attacked[channel].flat[first]).round()
    return torch.from_numpy(tables)


def make(photos: Path, out: Path, attack: Attack, metric: Metric, side: int, per_photo: int) -> None:
    """Attack `per_photo` squares of each photograph and keep the pairs in `out`; what is there is kept.

    Interrupted, the same call goes on. Raises ValueError if `out` holds pairs that were made otherwise.
    """
    files = photographs(photos)
    origin = {
        "photographs": [file.name for file in files],
        "attack": attack.model_dump(mode="json"),
        "metric": metric.card.name,
        "version": metric.card.version,
        "side": side,
        "per_photo": per_photo,
    }
    out.mkdir(parents=True, exist_ok=True)
    if (out / ORIGIN).exists() and json.loads((out / ORIGIN).read_text(encoding="utf-8")) != origin:
        raise ValueError(f"{out} holds pairs that were made otherwise, see {out / ORIGIN}: name another folder")
    (out / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
    count = len(files) * per_photo
    for index in range(count):
        kept = out / f"{index:05}.npy"
        if not kept.exists():
            pixels = torch.from_numpy(anywhere(files[index % len(files)], side, index).copy()).permute(2, 0, 1)
            attacked = attack(pixels[None].float() / 255, metric)[0].mul(255).round().to(torch.uint8)
            with (partial := out / f"{index:05}.partial").open("wb") as stream:
                np.save(stream, torch.stack([pixels, attacked]).numpy())
            partial.replace(kept)
            print(f"pair {index + 1} of {count}", flush=True)


def read(folder: Path, held_out: int) -> tuple[Pairs, Pairs]:
    """Return the pairs to train on and those of `held_out` photographs, which serve to watch the training.

    Raises ValueError unless more than `held_out` photographs were used.
    """
    origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    names = sorted(origin["photographs"])
    if len(names) <= held_out:
        raise ValueError(f"{folder} holds pairs of {len(names)} photographs; more than {held_out} are needed")
    random.Random(0).shuffle(names)
    watched = set(names[:held_out])
    stacks = torch.from_numpy(np.stack([np.load(file) for file in sorted(folder.glob("*.npy"))]))
    is_watched = torch.tensor([origin["photographs"][i % len(names)] in watched for i in range(len(stacks))])
    parts = (stacks[~is_watched], stacks[is_watched])
    trained, held = (Pairs(part[:, 0], part[:, 1]) for part in parts)
    return trained, held
