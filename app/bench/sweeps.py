"""Several values of a parameter at once: `jpeg(quality=30|50|70)`, or `jpeg(quality=*)` for those of Guardians."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from app.bench.items import BenchError, Item
from models import notation
from models.attack import Attack
from models.defense import Defense

ALL = "*"
"""Stands for the values that Guardians of Image Quality (arXiv 2408.01541) tries."""
Kinds = Mapping[str, type[Attack]] | Mapping[str, type[Defense]]


class Curve(NamedTuple):
    """Attacks or defenses that differ in one number."""

    parameter: str
    labels: Mapping[float, str]
    """Of the items, by the value of the parameter, the smallest first."""


Leaf = tuple[tuple[str | int, ...], Any]
"""Where a value stands in the parameters of an item, and the value."""


def expand(texts: Iterable[str], kinds: Kinds) -> list[str]:
    """Return the texts of a study's list, one for each value; of several parameters, one for each combination.

    `kinds` are the classes by name, whose `presets` are the values of `*`. JSON stays as it is.
    Raises BenchError for a `*` that stands for nothing.
    """
    return [one for text in texts for one in _combined(text, kinds)]


def _combined(text: str, kinds: Kinds) -> Iterator[str]:
    steps = [list(_one_step(step, kinds)) for step in notation.split(text, "+")]
    return (" + ".join(combination) for combination in itertools.product(*steps))


def _one_step(text: str, kinds: Kinds) -> Iterator[str]:
    parts = notation.named(text)
    if parts is None:
        yield text
        return
    name, inside = parts
    fields = [list(_one_field(name, field, kinds)) for field in notation.split(inside, ",")]
    for combination in itertools.product(*fields):
        yield f"{name}({', '.join(combination)})"


def _one_field(name: str, text: str, kinds: Kinds) -> Iterator[str]:
    key, equals, value = text.partition("=")
    if value.strip() != ALL:
        yield from (f"{key}{equals}{one}" for one in notation.split(value, "|"))
        return
    presets = kinds[name].presets if name in kinds else {}
    if key.strip() not in presets:
        there = f"only for {' and '.join(presets)}" if presets else "for none of its parameters"
        example = f"{key.strip()}=1|2|3"
        raise BenchError(f"{name}({text.strip()}): {name} has values to try {there}. Write them, as in {example}")
    yield from (f"{key}={one}" for one in presets[key.strip()])


def curves(items: Sequence[Item]) -> list[Curve]:
    """Return the items that differ in one number only, in the order of that number."""
    found: dict[tuple[Any, ...], dict[float, str]] = {}
    for item in items:
        leaves = list(_leaves(item.about))
        for index, (place, value) in enumerate(leaves):
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault((place, *leaves[:index], *leaves[index + 1 :]), {})[value] = item.label
    return [Curve(str(key[0][-1]), dict(sorted(labels.items()))) for key, labels in found.items() if len(labels) > 1]


def _leaves(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[Leaf]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*place, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*place, index))
    else:
        yield place, value
