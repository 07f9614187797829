"""What the parameters of a defense or an attack ARE, and how they are read from text, with nothing guessed."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

LONGEST_NUMBER = 100
"""Digits of a whole number in JSON; Python refuses thousands of them with words about itself."""

_NO_SWITCH = PydanticCustomError("not_a_switch", "it does not take true or false")


class Parameters(BaseModel):
    """Frozen, bounded, finite parameters; unknown names are refused, and `true` is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, given: Any) -> Any:
        named = given.items() if isinstance(given, dict) else ()
        switches = [name for name, value in named if isinstance(value, bool) and name in cls.model_fields]
        wrong = [
            InitErrorDetails(type=_NO_SWITCH, loc=(name,), input=given[name])
            for name in switches if cls.model_fields[name].annotation is not bool
        ]  # fmt: skip
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return given


def read_json(text: str) -> Any:
    """Return what JSON holds. Raises ValueError for what is none, for a name that an object has twice."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:80]!r} appears twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits)} digits is too long")
    return int(digits)
