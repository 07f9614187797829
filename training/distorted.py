"""Photographs with all that goes wrong with them, and what full-reference metrics say about them."""

import csv
import functools
import multiprocessing
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training import pseudo_mos
from training.distortions import FAMILIES, LEVELS, Pixels
from training.drawn import painted, typed
from training.photos import photographs
from training.rare import cutout, enlarged, gray, toned, unfocused

CLEAN = "clean"
RARE: tuple[Callable[[Tensor, int], Tensor], ...] = (
    functools.partial(enlarged, most=2.2),
    unfocused,
    gray,
    cutout,
    painted,
    typed,
)
RARE_SHARE = 0.5
"""Of the crops to train on: soft in themselves, without color, on one color or drawn, as few of the photographs are."""
TONED_SHARE = 0.3
"""Of the crops to train on, rare or not: with colors, contrast and brightness of their own drawing."""
TEXTURED, FLAT = 25.0, 6.0
"""Least standard deviation of a crop, of 255: where there is much to see, and where there may be little."""


class Sample(NamedTuple):
    """One image that was made from a photograph."""

    family: str
    """Its distortion; `clean`: none."""
    level: int
    """1 to 5; 0: none."""
    members: dict[str, float]
    """Values of the full-reference metrics."""


class Plan(NamedTuple):
    """What is done to each crop."""

    families: int
    """How many families of distortions."""
    levels: int
    """How many of the five levels of each."""
    always: tuple[str, ...] = ()
    """Families that every crop gets; the others are drawn."""


def center(file: Path, side: int, *, shrunk: bool = False) -> Pixels:
    """Return the center square of a photograph, uint8 RGB (side, side, 3). Raises ValueError if it is too small.

    `shrunk` makes the photograph smaller first, until the square reaches from edge to edge of its shorter side.
    """
    with Image.open(file) as image:
        _check_side(file, image, side)
        whole = image.convert("RGB")
    if shrunk:
        factor = side / min(whole.size)
        whole = whole.resize([round(edge * factor) for edge in whole.size], Image.Resampling.BICUBIC)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    return np.asarray(whole.crop((left, top, left + side, top + side)), np.uint8)


def anywhere(file: Path, side: int, seed: int, *, shrunk: bool = False, contrast: float = TEXTURED) -> Pixels:
    """Return a square of a photograph, uint8 RGB (side, side, 3), where the seed says.

    Squares with a standard deviation below `contrast` are passed over, if there are better ones. `shrunk` makes the
    photograph smaller first, by a factor down to 1/3, so that few photographs give many contents. Raises ValueError if
    it is too small.
    """
    draw = np.random.default_rng(seed)
    with Image.open(file) as image:
        _check_side(file, image, side)
        whole = image.convert("RGB")
    if shrunk:
        factor = max(float(draw.uniform(1 / 3, 1)), side / min(whole.size))
        whole = whole.resize([max(side, round(edge * factor)) for edge in whole.size], Image.Resampling.LANCZOS)
    pixels = np.asarray(whole, np.uint8)
    best = pixels[:side, :side]
    for _ in range(8):
        top, left = (int(draw.integers(0, edge - side + 1)) for edge in pixels.shape[:2])
        crop = pixels[top : top + side, left : left + side]
        if crop.std() > contrast:
            return crop
        best = max(best, crop, key=lambda candidate: float(candidate.std()))
    return best


def _check_side(file: Path, image: Image.Image, side: int) -> None:
    if min(image.size) < side:
        raise ValueError(f"{file} is smaller than {side} pixels")


def distort(clean: Pixels, name: str, wanted: Mapping[str, Sequence[int]]) -> tuple[list[Sample], NDArray[np.uint8]]:
    """Return the clean image and its distortions of the wanted levels per family, with what the metrics say of each.

    Chance is drawn from the photograph's name and the family, so that all levels of a family share it.
    """
    images, marks = [clean], [(CLEAN, 0)]
    for family, levels in wanted.items():
        for level in levels:
            draw = np.random.default_rng(zlib.crc32(f"{name}/{family}".encode()))
            images.append(FAMILIES[family](clean, level, draw))
            marks.append((family, level))
    stack = np.stack(images)
    pixels = torch.from_numpy(stack).permute(0, 3, 1, 2)
    columns: dict[str, list[float]] = {member: [] for member in pseudo_mos.MEMBERS}
    for part in torch.split(pixels, 8):
        batch = part.float() / 255
        for member, values in pseudo_mos.measure(pixels[:1].float().expand_as(batch) / 255, batch).items():
            columns[member].extend(values.tolist())
    rows = zip(*columns.values(), strict=True)
    samples = [
        Sample(family, level, dict(zip(columns, row, strict=True)))
        for (family, level), row in zip(marks, rows, strict=True)
    ]
    return samples, stack


def make(folder: Path, out: Path, crops: Sequence[int], side: int, plan: Plan, processes: int) -> None:
    """Make the training images of `crops`, numbers that say which photograph in `folder` and where; keep what is there.

    Interrupted, the same call goes on.
    """
    files = photographs(folder)
    out.mkdir(parents=True, exist_ok=True)
    work = functools.partial(_make_one, files, out, side, plan)
    missing = [index for index in crops if not (out / f"{index:04}.csv").exists()]
    with multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as pool:
        for done, index in enumerate(pool.imap_unordered(work, missing), 1):
            print(f"content {index}: {done} of {len(missing)}", flush=True)


def _make_one(files: Sequence[Path], out: Path, side: int, plan: Plan, index: int) -> int:
    file = files[index % len(files)]
    draw = np.random.default_rng([index, 1])  # the place of the crop is drawn with the index alone
    others = sorted(FAMILIES.keys() - set(plan.always))
    chosen = [*plan.always, *draw.choice(others, plan.families - len(plan.always), replace=False).tolist()]
    wanted = {family: sorted(draw.choice(LEVELS, plan.levels, replace=False).tolist()) for family in chosen}
    turn = index // len(files)
    clean = anywhere(file, side, index, shrunk=bool(turn % 2), contrast=FLAT if turn % 4 > 1 else TEXTURED)
    kinds = [RARE[int(draw.integers(len(RARE)))]] if draw.random() < RARE_SHARE else []
    kinds += [toned] if draw.random() < TONED_SHARE else []
    for kind in kinds:
        made = kind(torch.from_numpy(clean.copy()).permute(2, 0, 1)[None].float() / 255, index)
        clean = (made[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    samples, stack = distort(clean, f"{index}/{file.name}", wanted)
    np.save(out / f"{index:04}.npy", stack)
    partial = out / f"{index:04}.partial"
    with partial.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["photograph", "family", "level", *pseudo_mos.MEMBERS])
        writer.writerows([file.name, sample.family, sample.level, *sample.members.values()] for sample in samples)
    partial.replace(out / f"{index:04}.csv")
    return index


def made(out: Path) -> list[int]:
    """Return the numbers of the crops that `make` has left there. Raises ValueError for none."""
    crops = sorted(int(table.stem) for table in out.glob("*.csv"))
    if not crops:
        raise ValueError(f"{out} holds no crops; make some with --photos")
    return crops


def read(out: Path, crops: Sequence[int]) -> Iterator[tuple[str, list[Sample], NDArray[np.uint8]]]:
    """Yield each crop's photograph, samples, and images (memory-mapped), as `make` left them."""
    for index in crops:
        table = out / f"{index:04}.csv"
        with table.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        samples = [
            Sample(row["family"], int(row["level"]), {member: float(row[member]) for member in pseudo_mos.MEMBERS})
            for row in rows
        ]
        yield rows[0]["photograph"], samples, np.load(table.with_suffix(".npy"), mmap_mode="r")
