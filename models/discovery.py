"""A file in a folder IS one thing: find them all, in the order of their names, and fail loudly."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Yield the modules in `package`, imported, sorted by name."""
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        yield importlib.import_module(f"{package.__name__}.{found.name}")


def concrete_subclasses(package: ModuleType, base: type[T]) -> Iterator[type[T]]:
    """Yield every non-abstract subclass of `base` defined in the modules of `package`, sorted by module name.

    A class that a module only imports is not yielded again. An error in one module is raised, not skipped:
    a service that silently lacks a defense is worse than one that does not start.
    """
    for module in modules(package):
        for _, member in inspect.getmembers(module, inspect.isclass):
            if issubclass(member, base) and member.__module__ == module.__name__ and not inspect.isabstract(member):
                yield member
