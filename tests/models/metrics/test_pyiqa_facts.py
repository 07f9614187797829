"""The table of facts about pyiqa's metrics, held to the installed pyiqa and its companions."""

import importlib.util
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote

import pytest

from models.metrics import find_metric
from models.metrics.pyiqa_metrics import read_facts

FACTS = read_facts()
SITE = Path(importlib.util.find_spec("pyiqa").origin).parents[1]


@pytest.fixture(scope="module")
def pyiqas_metrics():
    """What pyiqa itself says about its no-reference metrics."""
    spec = importlib.util.spec_from_file_location("pyiqa_configs", SITE / "pyiqa" / "default_model_configs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: entry for name, entry in module.DEFAULT_CONFIGS.items() if entry["metric_mode"] == "NR"}


@pytest.fixture(scope="module")
def sources():
    """The text of the libraries that name weight files."""
    folders = ("pyiqa", "torchvision/models", "timm/models", "facexlib", "clip")
    return "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in (SITE / folder).rglob("*.py"))


def test_every_no_reference_metric_of_pyiqa_is_there_and_no_other(pyiqas_metrics):
    assert sorted(FACTS) == sorted(pyiqas_metrics)
    assert len(FACTS) == 74


@pytest.mark.parametrize("name", FACTS)
def test_direction_and_range_are_what_pyiqa_says(name, pyiqas_metrics):
    entry, card = pyiqas_metrics[name], find_metric(f"pyiqa:{name}").card
    bounds = [part.strip().lstrip("~") for part in entry["score_range"].split(",")]
    assert card.range == tuple(float(bound) if bound else None for bound in bounds)
    assert card.higher_is_better is not entry.get("lower_better", False)
    assert not (card.range_is_exact and "~" in entry["score_range"].replace("0, ~", "0"))


@pytest.mark.parametrize("name", FACTS)
def test_every_weight_file_is_named_by_the_library_that_looks_for_it(name, sources):
    for weight in FACTS[name].needs:
        owner, _, rest = weight.name.partition("/")
        if owner == "timm":
            assert f"'{rest.partition('/')[0]}'" in sources
        elif rest:
            assert f"{owner}/{rest.partition('/')[0]}" in sources
        else:
            assert unquote(weight.name) in sources
            assert weight.url.endswith(weight.name)


def test_addresses_outside_pyiqas_own_store_are_in_the_sources(sources):
    urls = {weight.url for facts in FACTS.values() for weight in facts.needs}
    foreign = {url for url in urls if not url.startswith("https://huggingface.co/")}
    assert len(foreign) >= 8
    assert {url for url in foreign if url not in sources} == set()


def test_only_what_needs_no_parameters_names_no_files():
    without = {name for name, facts in FACTS.items() if not facts.needs and not facts.unusable}
    assert without == {"piqe", "entropy"}


def test_fgresq_is_still_unusable_with_the_installed_transformers():
    text = (SITE / "transformers" / "models" / "clip" / "modeling_clip.py").read_text(encoding="utf-8")
    vision_model = text.partition("class CLIPVisionModel(")[2].partition("\nclass ")[0]
    assert "def forward" in vision_model
    assert "self.vision_model" not in vision_model, f"transformers {version('transformers')} may serve fgresq again"
