"""`app`, `workers` and `models` are generic names: no dependency may own one of them."""

import sysconfig
from importlib.machinery import PathFinder

import pytest


@pytest.mark.parametrize("name", ["app", "workers", "models"])
def test_no_dependency_ships_a_package_of_our_names(name):
    spec = PathFinder.find_spec(name, [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    assert spec is None, f"{spec.origin} would be imported instead of ours"
