"""What a training imports is installed by `pip install purifiqa[training]`."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def imported(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_the_extra_installs_whatever_a_training_imports():
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["training"]]
    installed = {re.match(r"[\w.-]+", one)[0] for one in wanted}
    modules = {name for file in (ROOT / "training").glob("*.py") for name in imported(file)}
    foreign = modules - set(sys.stdlib_module_names) - {"app", "models", "training"}
    carriers = packages_distributions()
    assert {"torch", "piq"} <= foreign
    assert [name for name in sorted(foreign) if not installed & set(carriers[name])] == []
