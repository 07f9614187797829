"""Pictures of every quality, each with a pseudo-MOS: `python -m benchmarks.rated --photos DIR --out DIR`.

Of the center of each photograph it writes the original and `--damaged` damaged versions as PNG, the kind of damage and
its level drawn by the seed, and `mos.csv`, what the fusion of full-reference metrics that the shipped metric learned
says of each (100: the original). No person's opinion is in it. What it is for:

    purifiqa bench --images OUT --mos OUT/mos.csv --attacks ... --defenses ... --out study
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from app.bench.items import slug
from app.bench.opinions import COLUMNS
from training import pseudo_mos
from training.distorted import center, distort
from training.distortions import FAMILIES, LEVELS
from training.photos import photographs


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures and mos.csv; made if missing")
    parser.add_argument("--side", type=int, default=256, help="side of the center crops")
    parser.add_argument("--damaged", type=int, default=2, help="damaged versions of each photograph")
    parser.add_argument("--count", type=int, help="at most so many photographs")
    parser.add_argument("--seed", type=int, default=0, help="of the kinds of damage and their levels")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    files = photographs(options.photos)[: options.count]
    rows: list[tuple[str, str]] = []
    for number, file in enumerate(files):
        drawn = np.random.default_rng([options.seed, number])
        name = slug(str(file.relative_to(options.photos)))
        try:
            made = [*rated(file, name, options.out, options.side, options.damaged, drawn)]
        except ValueError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        rows += [(version, f"{label:.2f}") for version, label in made]
    with (options.out / "mos.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *rows])
    print(f"{len(rows)} pictures; purifiqa bench --images {options.out} --mos {options.out / 'mos.csv'} ...")


def rated(
    file: Path, called: str, out: Path, side: int, damaged: int, drawn: np.random.Generator
) -> Iterator[tuple[str, float]]:
    """Write the versions of one photograph; yield the name and the pseudo-MOS of each.

    Raises ValueError for a photograph smaller than `side`.
    """
    families = drawn.choice(sorted(FAMILIES), damaged, replace=False).tolist()
    wanted = {family: [int(drawn.choice(LEVELS))] for family in families}
    samples, stack = distort(center(file, side), file.name, wanted)
    values = {member: np.array([sample.members[member] for sample in samples]) for member in pseudo_mos.MEMBERS}
    labels = pseudo_mos.fuse(values, pseudo_mos.read_scale())
    labels[0] = 100
    for sample, pixels, label in zip(samples, stack, labels, strict=True):
        name = f"{called}-{sample.family}-{sample.level}.png"
        Image.fromarray(pixels).save(out / name)
        yield name, float(label)


if __name__ == "__main__":
    main()
