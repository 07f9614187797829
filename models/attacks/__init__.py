"""A file here is an attack. `parse_attack` makes any of them by name; nothing else lists them."""

import sys
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from models.attack import Attack
from models.discovery import UnknownNameError, concrete_by_name
from models.notation import read


class UnknownAttackError(UnknownNameError):
    """No attack has this name."""

    kind = "attack"


ATTACKS: dict[str, type[Attack]] = concrete_by_name(
    sys.modules[__name__],
    Attack,  # type: ignore[type-abstract]
    facts=("source",),
)
"""Every attack by name, in alphabetical order."""

ORDERABLE: dict[str, type[Attack]] = {name: kind for name, kind in ATTACKS.items() if not kind.is_local}
"""Those that may be ordered from another machine."""

if TYPE_CHECKING:
    OrderableAttack = Attack
else:
    OrderableAttack = Annotated[Union[tuple(ORDERABLE.values())], Field(discriminator="name")]  # noqa: UP007 - built at run time


def parse_attack(text: str) -> Attack:
    """Make an attack from a line such as `ifgsm` or `ifgsm(epsilon=4)`, or from JSON (models/notation.py).

    Raises UnknownAttackError for a name that does not exist, pydantic.ValidationError for a wrong parameter,
    ValueError for a line that cannot be read.
    """
    value = read(text, ATTACKS)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError('as JSON, an attack is an object with a "name", such as {"name": "ifgsm", "epsilon": 4}')
    if value["name"] not in ATTACKS:
        raise UnknownAttackError(value["name"], ATTACKS)
    return ATTACKS[value["name"]].model_validate(value)
