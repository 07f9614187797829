"""What a defense made of a picture, as numbers: the same whether this machine or a service computed it."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from app.bench.folder import OWN_PICTURES, DefenseRecord, Folder, write_whole
from app.bench.items import Item, defense_of
from app.bench.units import Unit
from models.defense import Aligned
from models.evaluation import perceptual
from models.evaluation.fidelity import compare, compare_aligned
from models.images import ImageFormat, decode, encode

MEASURES: dict[str, perceptual.Name] = {"lpips": "LPIPS"}
"""Learned distances that a study measures where their weights are."""


class Purified(NamedTuple):
    """A picture after a defense."""

    file: bytes
    """The purified image as a PNG: 8 bits, as the service hands it out."""
    scores: dict[str, float]
    """By metric, of the purified pixels as computed, before they were rounded to 8 bits: so does the service."""
    unscored: dict[str, str]
    """Why a metric has no score, by metric."""
    seconds: float
    """That the defense took."""


def measure(unit: Unit, folder: Folder, item: Item, clean: Tensor, done: Purified) -> DefenseRecord:
    """Compare what the defense `item` made with the clean picture, (1, 3, H, W) on the CPU; keep it if `unit` says so.

    Raises NotKeptError.
    """
    purified = decode(done.file, OWN_PICTURES)[0]
    aligned = defense_of(item).align(purified, (clean.shape[2], clean.shape[3]), unit.picture.seed)
    plain, back = compare(clean, purified), compare_aligned(clean, aligned.images, aligned.valid)
    if unit.keeps_purified:
        write_whole(folder.purified_picture(unit, item.label), done.file)
        grid = encode(aligned.images.clamp(0, 1), ImageFormat.PNG)
        write_whole(folder.purified_picture(unit, item.label, aligned=True), grid)
    return DefenseRecord(
        defense=item.label,
        scores=done.scores,
        unscored=done.unscored,
        psnr=plain.psnr,
        ssim=plain.ssim,
        aligned_psnr=finite(back.psnr),
        aligned_ssim=finite(back.ssim),
        valid=aligned.valid.double().mean().item(),
        seconds=done.seconds,
        distances={name: _distance(name, clean, aligned) for name in unit.measures},
    )


def _distance(name: str, clean: Tensor, aligned: Aligned) -> float:
    """Return a learned distance of the aligned image; pixels that are not left are those of the clean picture."""
    image = torch.where(aligned.valid.reshape(1, 1, *clean.shape[2:]), aligned.images, clean).clamp(0, 1)
    with torch.no_grad():
        return float(perceptual.distance(MEASURES[name], image, clean))


def finite(value: float) -> float | None:
    """Return the value, None for one that is not finite."""
    return value if math.isfinite(value) else None
