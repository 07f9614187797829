"""What `--attacks`, `--defenses` and `--metrics` name: each with a label to read and all its parameters."""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import invalid_fields
from models import notation
from models.attack import Attack
from models.attacks import parse_attack
from models.availability import Availability
from models.defense import Defense
from models.defenses import parse_defense
from models.metric import Metric
from models.metrics import find_metric


class BenchError(ValueError):
    """The study cannot be done as asked, or not go on; the message says why and what to do."""


class Item(BaseModel):
    """An attack, a defense or a metric of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(description="Its name, with what differs from its defaults.")
    about: dict[str, Any] = Field(description="All its parameters; of a metric, its version.")

    @property
    def json_text(self) -> str:
        """Return the parameters as `parse_attack` and `parse_defense` read them."""
        return json.dumps(self.about, sort_keys=True)


class Skipped(BaseModel):
    """What a study leaves out, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    name: str
    reason: str


class Found(BaseModel):
    """The items of one kind that can be used here, and those that cannot."""

    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...] = ()


def split(text: str) -> list[str]:
    """Return the items of a comma list; commas within brackets or JSON separate nothing."""
    return [item for item in notation.split(text, ",") if item]


def find_attacks(
    texts: Sequence[str], *, is_preset: bool, availability: Callable[[Item], Availability] | None = None
) -> Found:
    """Return the attacks that the texts name. Raises BenchError for one that cannot be used, unless of a preset.

    `availability` tells whether one can be used where it will run; None: here.
    """
    return _find("attack", texts, lambda text: _item(parse_attack(text), availability), is_preset=is_preset)


def find_defenses(
    texts: Sequence[str], *, is_preset: bool, availability: Callable[[Item], Availability] | None = None
) -> Found:
    """Return the defenses that the texts name, `none` first in any case; otherwise as `find_attacks`."""
    texts = ["none", *(text for text in texts if not _is_undefended(text))]
    return _find("defense", texts, lambda text: _item(parse_defense(text), availability), is_preset=is_preset)


def find_metrics(texts: Sequence[str], *, is_preset: bool) -> Found:
    """Return the metrics that the texts name; errors as `find_attacks`."""

    def item(name: str) -> tuple[Item, Availability]:
        metric = find_metric(name)
        return Item(label=name, about={"name": metric.card.name, "version": metric.card.version}), metric.availability()

    return _find("metric", texts, item, is_preset=is_preset)


def attack_of(item: Item) -> Attack:
    """Return the attack itself."""
    return parse_attack(item.json_text)


def label_of(text: str) -> str:
    """Return the label of the defense that a text names. Raises BenchError for one that is none."""
    try:
        return notation.write(parse_defense(text))
    except ValueError as error:
        raise BenchError(str(error)) from error


def defense_of(item: Item) -> Defense:
    """Return the defense itself, the same object every time: it may have loaded a network."""
    return _defense(item.json_text)


@functools.cache
def _defense(json_text: str) -> Defense:
    return parse_defense(json_text)


def metric_of(item: Item) -> Metric:
    """Return the metric itself."""
    return find_metric(item.label)


def slug(label: str) -> str:
    """Return a name for a file or folder that tells labels apart and can be read."""
    readable = re.sub(r"[^A-Za-z0-9._=-]+", "_", label).strip("._")[:80]
    if readable == label:
        return readable
    return f"{readable}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def _is_undefended(text: str) -> bool:
    try:
        return parse_defense(text).name == "none"
    except ValueError:
        return False


def _find(
    kind: str, texts: Sequence[str], item: Callable[[str], tuple[Item, Availability]], *, is_preset: bool
) -> Found:
    items: dict[str, Item] = {}
    skipped: list[Skipped] = []
    for text in texts:
        try:
            made, availability = item(text)
        except ValidationError as error:
            raise BenchError(f"{kind} {text}: {invalid_fields(error)}") from error
        except ValueError as error:
            if not is_preset:
                raise BenchError(str(error)) from error
            skipped.append(Skipped(kind=kind, name=text, reason="this version does not have it"))
            continue
        if not availability.available:
            if not is_preset:
                raise BenchError(f"{kind} {made.label} cannot be used here: {availability.explanation}")
            skipped.append(Skipped(kind=kind, name=made.label, reason=availability.explanation))
        elif made.label in items:
            raise BenchError(f"{kind} {made.label} is named twice")
        else:
            items[made.label] = made
    if not items:
        why = "; ".join(f"{one.name}: {one.reason}" for one in skipped) or f"name at least one with --{kind}s"
        raise BenchError(f"none of the {kind}s can be used: {why}")
    return Found(items=tuple(items.values()), skipped=tuple(skipped))


def _item(made: Attack | Defense, availability: Callable[[Item], Availability] | None) -> tuple[Item, Availability]:
    item = Item(label=notation.write(made), about=made.model_dump(mode="json"))
    return item, made.availability() if availability is None else availability(item)
