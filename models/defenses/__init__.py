"""A file here is a defense. `AnyDefense` validates any of them by name; nothing else lists them."""

import difflib
import sys
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from models.defense import Defense
from models.discovery import concrete_subclasses
from models.notation import read


class UnknownDefenseError(ValueError):
    """No defense has this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        close = difflib.get_close_matches(name.lower(), DEFENSES, n=1, cutoff=0.5)
        self.suggestion = close[0] if close else None
        hint = f"; did you mean {self.suggestion!r}?" if close else f"; there are {', '.join(DEFENSES)}"
        if close and "," in name:
            hint = "; join several with +, such as flip+jpeg"
        super().__init__(f"there is no defense {name[:80]!r}{hint}")


def _discover() -> dict[str, type[Defense]]:
    found: dict[str, type[Defense]] = {}
    for defense in concrete_subclasses(sys.modules[__name__], Defense):  # type: ignore[type-abstract]
        name = defense.model_fields["name"].default
        if name in found:
            raise TypeError(f"two defenses are named {name!r}: {found[name]} and {defense}")
        found[name] = defense
    return found


DEFENSES: dict[str, type[Defense]] = _discover()
"""Every defense by name, in alphabetical order."""

if TYPE_CHECKING:
    AnyDefense = Defense
else:
    AnyDefense = Annotated[Union[tuple(DEFENSES.values())], Field(discriminator="name")]  # noqa: UP007 - built at run time
for _defense in DEFENSES.values():  # a defense made of defenses names AnyDefense before it exists
    _defense.model_rebuild(_types_namespace={"AnyDefense": AnyDefense, **vars(sys.modules[_defense.__module__])})


def parse_defense(text: str) -> Defense:
    """Make a defense from a line such as `jpeg`, `jpeg(quality=50)` or `flip+jpeg`, or from JSON (models/notation.py).

    Raises UnknownDefenseError for a name that does not exist, pydantic.ValidationError for a wrong parameter,
    ValueError for a line that cannot be read.
    """
    return make_defense(read(text, DEFENSES))


def make_defense(value: Any) -> Defense:
    """Make a defense from a parsed object with a `name` and its parameters; errors as in `parse_defense`."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError('as JSON, a defense is an object with a "name", such as {"name": "jpeg", "quality": 50}')
    if value["name"] not in DEFENSES:
        raise UnknownDefenseError(value["name"])
    return DEFENSES[value["name"]].model_validate(value)
