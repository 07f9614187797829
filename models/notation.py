"""How a defense or an attack is written in one line: `flip + jpeg(quality=30)`. JSON stands for the same."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_origin

from models.parameters import Parameters, read_json

CHAIN = "chain"
"""The defense that several defenses joined by `+` are."""

_NAMED = re.compile(r"([^\s()]+)\s*\((.*)\)", re.DOTALL)
_OPENING, _CLOSING = "([{", ")]}"
_DEEPEST = 8
"""Parentheses within parentheses: a barrage in a chain has two, and a nest must cost nothing."""
_JSON = ("{", "[", '"')
_SIGNS = frozenset(',()[]{}"')


def split(text: str, separator: str) -> list[str]:
    """Return the parts between separators, stripped; one within brackets or a quoted string separates nothing."""
    parts, start, depth, quoted, place = [], 0, 0, False, 0
    while place < len(text):
        sign = text[place]
        if sign == "\\" and quoted:
            place += 1
        elif sign == '"':
            quoted = not quoted
        elif not quoted and sign in _OPENING:
            depth += 1
        elif not quoted and sign in _CLOSING:
            depth = max(depth - 1, 0)
        elif not quoted and not depth and sign == separator:
            parts.append(text[start:place].strip())
            start = place + 1
        place += 1
    return [*parts, text[start:].strip()]


def named(text: str) -> tuple[str, str] | None:
    """Return the name and what stands in the parentheses of `name(...)`; None for anything else."""
    found = None if text.startswith(_JSON) else _NAMED.fullmatch(text)
    return found and (found[1], found[2])


def read(text: str, kinds: Mapping[str, type[Parameters]]) -> Any:
    """Return the object that a line stands for, as JSON would hold it: a `name` and parameters, not yet checked.

    The line is a name, `name(parameter=value, ...)`, JSON, or several of these joined by `+`, which are a chain where
    `kinds`, the classes by name, has one. Raises ValueError for what is none of these.
    """
    parts = split(text, "+")
    if len(parts) == 1:
        return _read_one(parts[0], kinds)
    if CHAIN not in kinds:
        raise ValueError("only defenses are joined by +; a list is separated by commas")
    if not all(parts):
        raise ValueError(f"{text[:80]!r} lacks a defense before or after a +")
    return {"name": CHAIN, "steps": [_read_one(part, kinds) for part in parts]}


def _read_one(text: str, kinds: Mapping[str, type[Parameters]], depth: int = 0) -> Any:
    if text.startswith(_JSON):
        return _json(text)
    if "(" not in text:
        return {"name": text}
    parts = named(text)
    if parts is None:
        raise ValueError(f"{text[:80]!r} is not a name with parameters in parentheses, such as jpeg(quality=30)")
    if depth == _DEEPEST:
        raise ValueError("it is nested too deeply")
    name, inside = parts
    fields = kinds[name].model_fields if name in kinds else {}
    found: dict[str, Any] = {"name": name}
    for part in split(inside, ",") if inside.strip() else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key:
            raise ValueError(f"{part[:80]!r} in {name}(...) is not parameter=value")
        if key in found:
            raise ValueError(f"{key[:80]!r} is there twice")
        holds_several = key in fields and get_origin(fields[key].annotation) is tuple and not value.startswith("[")
        found[key] = [_read_one(one, kinds, depth + 1) for one in split(value, "+")] if holds_several else _value(value)
    return found


def _value(text: str) -> Any:
    """Return a number, `true`, `false`, `null` or anything in JSON's brackets or quotes as it is, else the word."""
    if text.startswith(_JSON):
        return _json(text)
    try:
        return read_json(text)
    except json.JSONDecodeError:
        return text


def _json(text: str) -> Any:
    try:
        return read_json(text)
    except ValueError as error:
        raise ValueError(f"{text[:80]!r} is not JSON: {error}") from error


def write(made: Parameters) -> str:
    """Return the shortest line that stands for a defense or an attack: its name, and what differs from its defaults."""
    values = made.model_dump(mode="json")
    steps = getattr(made, "steps", ()) if values["name"] == CHAIN else ()
    if len(steps) > 1:
        return _joined(steps)
    usual = type(made)().model_dump(mode="json")
    differences = [
        f"{name}={_shown(getattr(made, name), value)}" for name, value in values.items() if value != usual[name]
    ]
    return f"{values['name']}({', '.join(differences)})" if differences else values["name"]


def _joined(several: Iterable[Parameters]) -> str:
    return " + ".join(write(one) for one in several)


def _shown(value: Any, plain: Any) -> str:
    if isinstance(value, tuple) and all(isinstance(one, Parameters) for one in value):
        return _joined(value)
    if isinstance(plain, float) and float(f"{plain:g}") == plain:
        return f"{plain:g}"
    if isinstance(plain, str) and _is_word(plain):
        return plain
    return json.dumps(plain, ensure_ascii=False)


def _is_word(text: str) -> bool:
    """Return whether a text is read again as it is without quotes."""
    is_clear = text.isprintable() and text == text.strip() and not _SIGNS.intersection(text)
    return bool(text) and is_clear and _value(text) == text
