import importlib
import sys

import pytest

from models.discovery import concrete_subclasses

BASE = """
from abc import ABC, abstractmethod

class Base(ABC):
    @abstractmethod
    def act(self): ...
"""
CHILD = "from {0}.base import Base\n\nclass {1}(Base):\n    def act(self): ...\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that writes modules into a fresh package and returns it with its base class."""
    name = "a_package_to_discover"
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def build(**modules):
        (folder / "__init__.py").touch()
        (folder / "base.py").write_text(BASE)
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text)
        return importlib.import_module(name), importlib.import_module(f"{name}.base").Base

    yield build
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


def test_every_concrete_class_is_found_in_the_order_of_the_files(package):
    found = concrete_subclasses(
        *package(
            zebra=CHILD.format("a_package_to_discover", "Zebra"),
            ant=CHILD.format("a_package_to_discover", "Ant"),
            empty="VALUE = 3\n",
        )
    )
    assert [cls.__name__ for cls in found] == ["Ant", "Zebra"]


def test_abstract_and_imported_classes_are_not_found(package):
    found = concrete_subclasses(
        *package(
            ant=CHILD.format("a_package_to_discover", "Ant"),
            borrower="from a_package_to_discover.ant import Ant\nfrom a_package_to_discover.base import Base\n",
            partial="from a_package_to_discover.base import Base\n\nclass Partial(Base):\n    pass\n",
        )
    )
    assert [cls.__name__ for cls in found] == ["Ant"]


@pytest.mark.parametrize(
    ("text", "error"), [("1 / 0", ZeroDivisionError), ("import no_such_module", ImportError), ("def", SyntaxError)]
)
def test_an_error_in_one_file_is_raised(package, text, error):
    with pytest.raises(error):
        list(concrete_subclasses(*package(ant=CHILD.format("a_package_to_discover", "Ant"), broken=text)))


def test_a_class_that_does_not_say_what_it_has_to_is_refused_with_its_file(package):
    silent = CHILD.format("a_package_to_discover", "Silent")
    found = package(ant=silent.replace("Silent", "Ant") + "    kind = 1\n    cost = 2\n", silent=silent)
    with pytest.raises(TypeError, match=r"silent\.py: Silent has to say kind and cost$"):
        list(concrete_subclasses(*found, facts=("kind", "cost")))
