"""The measures of a study, from the records of its folder: one cell per picture, metric, attack and defense."""

import csv
import importlib
import importlib.util
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.bench.folder import AttackRecord, DefenseRecord, Folder, Record, UnscoredRecord, is_done, write_whole
from app.bench.items import Item, metric_of
from app.bench.parameters import Manifest
from app.bench.units import ATTACK, Unit, units_of
from models.evaluation.fidelity import Fidelity
from models.evaluation.gains import absolute_gain, gain, relative_gain, shift

CLEAN = "clean"
"""Stands for an attack where there was none."""
COLUMNS = ("image", "metric", "attack", "defense", "adaptive", "measure", "value")


@dataclass(frozen=True)
class Cell:
    """What was measured on one picture."""

    image: str
    metric: str
    attack: str
    """The label of the attack, or `CLEAN`."""
    defense: str
    adaptive: bool
    """Whether the attack went through the defense."""
    measures: dict[str, float]


@dataclass(frozen=True)
class Failure:
    """What could not be measured."""

    place: str
    step: str
    why: str


@dataclass
class Findings:
    """All that was measured."""

    cells: list[Cell] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    unscored: list[Failure] = field(default_factory=list)
    """Of finished steps, the metrics that have no score; of attacks, those that had none to attack."""
    steps: int = 0
    """That the study has."""
    done: int = 0
    """Of these, finished ones."""


def read(manifest: Manifest, folder: Folder) -> Findings:
    """Return what the records tell; a step that was not done is no cell."""
    findings = Findings()
    clean: dict[str, dict[str, DefenseRecord]] = {}
    for unit in units_of(manifest.parameters):
        records, failed = folder.told(unit)
        findings.steps += len(unit.steps)
        if isinstance(unscored := records.get(ATTACK), UnscoredRecord):
            findings.done += len(unit.steps)
            findings.unscored.append(Failure(unit.place, ATTACK, f"{unit.metrics[0].label}: {unscored.why}"))
            continue
        findings.done += sum(step not in failed and is_done(unit, records.get(step)) for step in unit.steps)
        findings.failures += [Failure(unit.place, step, why) for step, why in failed.items()]
        for step, one in records.items():
            if isinstance(one, DefenseRecord):
                findings.unscored += [Failure(unit.place, step, f"{name}: {why}") for name, why in one.unscored.items()]
        if unit.attack is None:
            clean[unit.picture.key] = _defended(records)
        findings.cells += _cells(unit, records, clean[unit.picture.key])
    return findings


def _cells(unit: Unit, records: dict[str, Record], clean: dict[str, DefenseRecord]) -> Iterator[Cell]:
    attack, undefended = records.get(ATTACK), clean.get("none")
    if undefended is None or (unit.attack is not None and not isinstance(attack, AttackRecord)):
        return
    for defense in unit.defenses:
        record, of_clean = records.get(defense.label), clean.get(defense.label)
        if not isinstance(record, DefenseRecord):
            continue
        for metric in unit.metrics:
            score, before = record.scores.get(metric.label), undefended.scores.get(metric.label)
            if score is None or before is None:
                continue
            measures = {**_fidelity(record), "score": score, "clean_score": before}
            if unit.attack is None:
                measures["clean_shift"] = shift(before, score)
            else:
                after = None if of_clean is None else of_clean.scores.get(metric.label)
                measures |= _gains(metric, before, score, after)
                measures["attacked_score"] = _attacked(metric, records)
            if isinstance(attack, AttackRecord):
                measures |= {"attack_ms": attack.seconds * 1000, "queries": attack.queries, "linf": attack.linf}
                measures["first_slope"] = math.nan if attack.first_slope is None else attack.first_slope
            yield Cell(
                image=unit.picture.name,
                metric=metric.label,
                attack=unit.attack.label if unit.attack else CLEAN,
                defense=defense.label,
                adaptive=unit.through is not None,
                measures={name: value for name, value in measures.items() if math.isfinite(value)},
            )


def _gains(metric: Item, before: float, score: float, after: float | None) -> dict[str, float]:
    """Return the measures of an attacked score; `after` is that of the clean picture behind the same defense."""
    low, high = metric_of(metric).card.range
    width = None if low is None or high is None else high - low
    found = {"gain": gain(before, score), "robust_rel_gain": relative_gain(before, score)}
    if width:
        found["robust_abs_gain"] = absolute_gain(before, score, width)
    if after is not None:
        found |= {"defended_clean_score": after, "both_defended_rel_gain": relative_gain(after, score)}
        found["movement"] = gain(after, score)
        if width:
            found["both_defended_abs_gain"] = absolute_gain(after, score, width)
    return found


def _attacked(metric: Item, records: dict[str, Record]) -> float:
    """Return the undefended score of an attacked picture; NaN: it is not known."""
    attack, undefended, score = records.get(ATTACK), records.get("none"), None
    if isinstance(undefended, DefenseRecord):
        score = undefended.scores.get(metric.label)
    elif isinstance(attack, AttackRecord):
        score = attack.undefended
    return math.nan if score is None else score


def _fidelity(record: DefenseRecord) -> dict[str, float]:
    plain = Fidelity(record.psnr, record.ssim)
    found = {
        "psnr": plain.psnr,
        "ssim": plain.ssim,
        "quality": plain.quality,
        "similarity": plain.similarity,
        "valid": record.valid,
        "ms": record.seconds * 1000,
    }
    found |= {f"aligned_{name}": distance for name, distance in record.distances.items()}
    if record.aligned_psnr is not None:
        found["aligned_psnr"] = record.aligned_psnr
    if record.aligned_ssim is not None:
        found["aligned_ssim"] = record.aligned_ssim
    if record.aligned_psnr is not None and record.aligned_ssim is not None:
        found["aligned_quality"] = Fidelity(record.aligned_psnr, record.aligned_ssim).quality
    return found


def _defended(records: dict[str, Record]) -> dict[str, DefenseRecord]:
    return {step: one for step, one in records.items() if isinstance(one, DefenseRecord)}


def rows(cells: Sequence[Cell]) -> Iterator[tuple[str, str, str, str, bool, str, float]]:
    """Yield the tidy table, a measure a row, in the order of COLUMNS."""
    for cell in cells:
        for measure, value in cell.measures.items():
            yield cell.image, cell.metric, cell.attack, cell.defense, cell.adaptive, measure, float(value)


def write_csv(cells: Sequence[Cell], file: Path) -> None:
    """Write the tidy table; values with all their digits. Raises NotKeptError."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for *names, adaptive, measure, value in rows(cells):
        writer.writerow([*names, str(adaptive).lower(), measure, repr(value)])
    write_whole(file, text.getvalue().encode())


def write_parquet(cells: Sequence[Cell], file: Path) -> bool:
    """Write the tidy table as Parquet; return False without writing if pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        return False
    pyarrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    columns = list(zip(*rows(cells), strict=True)) or [()] * len(COLUMNS)
    table = pyarrow.table(dict(zip(COLUMNS, columns, strict=True)))
    text = pyarrow.BufferOutputStream()
    parquet.write_table(table, text)
    write_whole(file, text.getvalue().to_pybytes())
    return True
