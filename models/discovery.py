"""A file in a folder IS one thing: find them all, in the order of their names, and fail loudly."""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Collection, Iterable, Iterator
from types import ModuleType
from typing import ClassVar, TypeVar

from pydantic import BaseModel

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class UnknownNameError(ValueError):
    """Nothing has this name; the message tells the closest one that there is, else all of them."""

    kind: ClassVar[str]
    """What has the names, in a word."""
    lists_all: ClassVar[bool] = True

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, known = name, [*known]
        close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        self.suggestion = close[0] if close else None
        super().__init__(f"there is no {self.kind} {name[:80]!r}{self._hint(known)}")

    def _hint(self, known: list[str]) -> str:
        if self.suggestion:
            return f"; did you mean {self.suggestion!r}?"
        return f"; there are {', '.join(known)}" if self.lists_all else ""


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Yield the modules in `package`, imported, sorted by name."""
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        yield importlib.import_module(f"{package.__name__}.{found.name}")


def concrete_subclasses(package: ModuleType, base: type[T], facts: Collection[str] = ()) -> Iterator[type[T]]:
    """Yield every non-abstract subclass of `base` defined in the modules of `package`, sorted by module name.

    A class that a module only imports is not yielded again. An error in one module is raised, not skipped:
    a service that silently lacks a defense is worse than one that does not start.
    Raises TypeError for a class that does not say one of the `facts`, which are class attributes without a default.
    """
    for module in modules(package):
        for _, member in inspect.getmembers(module, inspect.isclass):
            if issubclass(member, base) and member.__module__ == module.__name__ and not inspect.isabstract(member):
                if missing := [fact for fact in facts if not hasattr(member, fact)]:
                    raise TypeError(f"{module.__file__}: {member.__name__} has to say {' and '.join(missing)}")
                yield member


def concrete_by_name(package: ModuleType, base: type[M], facts: Collection[str] = ()) -> dict[str, type[M]]:
    """Return the classes of `concrete_subclasses` by the default of their field `name`, in alphabetical order."""
    found: dict[str, type[M]] = {}
    for kind in concrete_subclasses(package, base, facts):
        name = kind.model_fields["name"].default
        if name in found:
            raise TypeError(f"two of {package.__name__} are named {name!r}: {found[name]} and {kind}")
        found[name] = kind
    return dict(sorted(found.items()))
