"""A file here is a defense. `AnyDefense` validates any of them by name; nothing else lists them."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from models.defense import Defense
from models.discovery import UnknownNameError, concrete_by_name
from models.notation import read


class UnknownDefenseError(UnknownNameError):
    """No defense has this name."""

    kind = "defense"

    def _hint(self, known: list[str]) -> str:
        is_list = self.suggestion and "," in self.name
        return "; join several with +, such as flip+jpeg" if is_list else super()._hint(known)


DEFENSES: dict[str, type[Defense]] = concrete_by_name(
    sys.modules[__name__],
    Defense,  # type: ignore[type-abstract]
    facts=("differentiable", "stochastic"),
)
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
        raise UnknownDefenseError(value["name"], DEFENSES)
    return DEFENSES[value["name"]].model_validate(value)
