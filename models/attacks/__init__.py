"""A file here is an attack. `parse_attack` makes any of them by name; nothing else lists them."""

import difflib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from models.attack import Attack
from models.discovery import concrete_subclasses
from models.notation import read


class UnknownAttackError(ValueError):
    """No attack has this name."""

    def __init__(self, name: str, offered: Iterable[str] = ()) -> None:
        """Take the name, and those to choose from; all if none are given."""
        self.name = name
        offered = [*offered] or [*ATTACKS]
        close = difflib.get_close_matches(name.lower(), offered, n=1, cutoff=0.5)
        self.suggestion = close[0] if close else None
        hint = f"; did you mean {self.suggestion!r}?" if close else f"; there are {', '.join(offered)}"
        super().__init__(f"there is no attack {name[:80]!r}{hint}")


def _discover() -> dict[str, type[Attack]]:
    found: dict[str, type[Attack]] = {}
    for attack in concrete_subclasses(sys.modules[__name__], Attack):  # type: ignore[type-abstract]
        name = attack.model_fields["name"].default
        if name in found:
            raise TypeError(f"two attacks are named {name!r}: {found[name]} and {attack}")
        found[name] = attack
    return dict(sorted(found.items()))


ATTACKS: dict[str, type[Attack]] = _discover()
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
        raise UnknownAttackError(value["name"])
    return ATTACKS[value["name"]].model_validate(value)
