"""A study's folder: what is finished is kept there, and nothing in it is ever half written."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor

from app.bench.items import BenchError, Item, slug
from app.bench.parameters import Manifest
from app.bench.units import ATTACK, Unit
from models.attack_alone import AttackFacts
from models.image_files.limits import MOST_PIXELS
from models.images import ImageError, ImageLimits, decode

OWN_PICTURES = ImageLimits(max_bytes=2**31, max_pixels=MOST_PIXELS, min_side=1)  # checked when they came in


class NotKeptError(Exception):
    """A file of the study could not be written or read back, so that it makes no sense to go on."""


class AttackRecord(AttackFacts):
    """What an attack did to a picture."""

    kind: Literal["attack"] = "attack"
    undefended: float | None = Field(
        None, description="Score of the attacked picture before a defense that was attacked through; null: it has none."
    )

    @property
    def step(self) -> str:
        """Return the step that is done."""
        return ATTACK


class DefenseRecord(BaseModel):
    """What a defense made of a clean or attacked picture."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["defense"] = "defense"
    defense: str
    scores: dict[str, float] = Field(description="By metric.")
    unscored: dict[str, str] = Field({}, description="Why a metric has no score, by metric.")
    psnr: float
    ssim: float
    aligned_psnr: float | None = Field(description="Null: no pixel of the source is left.")
    aligned_ssim: float | None
    valid: float = Field(description="Share of the source's pixels that is left.")
    seconds: float
    distances: dict[str, float] = Field({}, description="Learned ones, aligned, by name.")

    @property
    def step(self) -> str:
        """Return the step that is done."""
        return self.defense

    def has_asked(self, metrics: Iterable[Item]) -> bool:
        """Return whether all these metrics were asked."""
        return all(metric.label in self.scores or metric.label in self.unscored for metric in metrics)


class UnscoredRecord(BaseModel):
    """The metric under attack has no score to begin with, or none on the way: of the unit there is nothing to do."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["unscored"] = "unscored"
    why: str

    @property
    def step(self) -> str:
        """Return the step that is done."""
        return ATTACK


class FailureRecord(BaseModel):
    """A step that could not be done; a later record of the same step counts instead."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["failure"] = "failure"
    step: str
    why: str


Record = AttackRecord | DefenseRecord | UnscoredRecord | FailureRecord
_RECORD: TypeAdapter[Record] = TypeAdapter(Record)


class Folder:
    """The files of a study."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from working in it. Raises BenchError if one does, and if nobody can."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            opened = (self.root / ".lock").open("a")
        except OSError as error:
            is_file = os.path.isfile(self.root)  # noqa: PTH113 - which may not be looked at, or is too long a name
            why = "it is a file, not a folder" if is_file else error.strerror or error
            raise BenchError(f"--out {self.root} cannot be used: {why}") from error
        with opened as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BenchError(f"{self.root}: another purifiqa bench is using this folder") from error
            yield

    def manifest(self) -> Manifest | None:
        """Return what the folder is about; None: nothing yet.

        Raises BenchError for a file that cannot be read, and for records of which nobody knows what they are about.
        """
        file = self.root / "manifest.json"
        try:
            return Manifest.model_validate_json(file.read_bytes())
        except FileNotFoundError as error:
            if (self.root / "records").exists():
                raise BenchError(
                    f"{self.root} has records of a study, but its {file.name} is missing; name another --out"
                ) from error
            return None
        except ValidationError as error:
            raise BenchError(f"{file} was not written by this version; name another --out") from error

    def holds_a_study(self) -> bool:
        """Return whether what lies in it are the results of a study."""
        return (self.root / "manifest.json").is_file() and (self.root / "clean").is_dir()

    def set_manifest(self, manifest: Manifest) -> None:
        """Say what the folder is about."""
        write_whole(self.root / "manifest.json", manifest.model_dump_json(indent=1).encode())

    def clean_picture(self, key: str) -> Path:
        """Return where the picture is, as it is attacked and scored."""
        return self.root / "clean" / f"{key}.png"

    def attacked_picture(self, unit: Unit) -> Path:
        """Return where the attacked picture is."""
        return self.root / "attacked" / f"{unit.place}.png"

    def purified_picture(self, unit: Unit, defense: str, *, aligned: bool = False) -> Path:
        """Return where the purified picture is, as the metric sees it or on its source's grid."""
        return self.root / "purified" / unit.place / f"{slug(defense)}{'.aligned' if aligned else ''}.png"

    def read_clean(self, unit: Unit) -> Tensor:
        """Return the picture, (1, 3, H, W). Raises NotKeptError if it cannot be read back."""
        return read_picture(self.clean_picture(unit.picture.key))

    def read_attacked(self, unit: Unit) -> Tensor:
        """Return the attacked picture, as `read_clean`."""
        return read_picture(self.attacked_picture(unit))

    def append(self, unit: Unit, record: Record) -> None:
        """Add a record, whole or not at all: a line that was cut short is passed over. Raises NotKeptError."""
        file = self._records(unit)
        line = b"\n" + record.model_dump_json().encode() + b"\n"
        with _kept(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab", buffering=0) as opened:
                if opened.write(line) != len(line):
                    raise NotKeptError(f"{file} could not be written completely: is the disk full?")
                os.fsync(opened.fileno())

    def records(self, unit: Unit) -> dict[str, Record]:
        """Return the last record of every step; of a step that was done and then failed with more metrics, the done."""
        return self.told(unit)[0]

    def told(self, unit: Unit) -> tuple[dict[str, Record], dict[str, str]]:
        """Return `records`, and why steps failed, of those that failed when they were last tried."""
        found: dict[str, Record] = {}
        failed: dict[str, str] = {}
        for record in self._lines(unit):
            failed.pop(record.step, None)
            if isinstance(record, FailureRecord):
                failed[record.step] = record.why
            if not isinstance(record, FailureRecord) or not isinstance(found.get(record.step), DefenseRecord):
                found[record.step] = record
        return found, failed

    def _lines(self, unit: Unit) -> Iterator[Record]:
        try:
            lines = self._records(unit).read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            with contextlib.suppress(ValueError):  # empty, or cut short by a kill
                yield _RECORD.validate_python(json.loads(line))

    def finished(self, unit: Unit) -> dict[str, Record]:
        """Return the record of every step that needs not be done again."""
        records, failed = self.told(unit)
        if isinstance(unscored := records.get(ATTACK), UnscoredRecord):
            return dict.fromkeys(unit.steps, unscored)
        found = {step: record for step, record in records.items() if step not in failed and is_done(unit, record)}
        if unit.attack is not None and (ATTACK not in found or not self.attacked_picture(unit).is_file()):
            return {}
        return found

    def _records(self, unit: Unit) -> Path:
        return self.root / "records" / f"{unit.place}.jsonl"


def is_done(unit: Unit, record: Record | None) -> bool:
    """Return whether a step needs not be done again; one that lacks a metric which the study got later does."""
    if isinstance(record, DefenseRecord):
        return record.has_asked(unit.metrics)
    return isinstance(record, AttackRecord)


def read_picture(file: Path) -> Tensor:
    """Return a picture of the folder, (1, 3, H, W). Raises NotKeptError, with what to do, if it cannot be read back."""
    try:
        return decode(file.read_bytes(), OWN_PICTURES)[0]
    except (ImageError, OSError) as error:
        raise NotKeptError(f"{file} cannot be read back ({error}): remove it and run the same command again") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, and the folders above it, all or nothing. Raises NotKeptError."""
    unfinished = path.with_name(f".{path.name}.part")
    with _kept(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.replace(path)


@contextmanager
def _kept(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotKeptError(f"{file}: {error.strerror or error}") from error
