"""Weights that ship in this package: what is read is, byte by byte, what was put there."""

import functools
import hashlib
from pathlib import Path

from models.checkpoints import CheckpointError
from models.weights import from_home

PACKAGE = Path(__file__).parent
SUMS = PACKAGE / "shipped.sha256"
"""The sums of everything that ships, as `sha256sum` writes and checks them; the paths begin in this folder."""


class ShippedWeightsError(CheckpointError):
    """A file that ships is missing or another one, as a broken download or Git LFS leaves it."""

    def __init__(self, file: Path, wrong: str) -> None:
        self.reason = f"{from_home(file)}, which ships with PurifIQA, {wrong}"
        self.cure = "Install PurifIQA again"
        super().__init__(f"{self.reason}. {self.cure}")


def verified(file: Path) -> Path:
    """Return a file that ships. Raises ShippedWeightsError unless it is the one that was shipped."""
    expected = _sums().get(file.relative_to(PACKAGE).as_posix())
    if expected is None:
        raise ShippedWeightsError(file, f"is not listed in {SUMS.name}")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ShippedWeightsError(file, f"cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != expected:
        what = "is a Git LFS pointer" if content.startswith(b"version https://git-lfs") else "is another file"
        raise ShippedWeightsError(file, f"{what}: {len(content):,} bytes with another sha256 than the shipped ones")
    return file


@functools.cache
def _sums() -> dict[str, str]:
    lines = SUMS.read_text(encoding="ascii").splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
