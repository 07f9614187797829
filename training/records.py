"""What a training run leaves behind: its curve, row by row, and a checkpoint that is whole or not there."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def append_row(curve: Path, row: Mapping[str, Any]) -> None:
    """Append a row to a CSV file, after the names of its columns if the file is new.

    Raises ValueError if the file has other columns: it is of another version of the training.
    """
    new = not curve.exists()
    if not new and curve.read_text().partition("\n")[0].strip() != ",".join(row):
        raise ValueError(f"{curve} has other columns than {', '.join(row)}; begin anew in another --out")
    with curve.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def save_whole(checkpoint: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, all or nothing."""
    partial = checkpoint.with_suffix(".partial")
    torch.save(dict(state), partial)
    partial.replace(checkpoint)
