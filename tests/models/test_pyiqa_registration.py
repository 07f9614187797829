"""Our metrics through pyiqa's own interface, after one import."""

import copy
import importlib
import subprocess
import sys
import warnings

import pytest
import torch
from known_photographs import load
from official_files import linearity_file, metaiqa_file, small_backbones

from models import metrics as catalogue
from models import published
from models.availability import AVAILABLE, unavailable
from models.iqa import weights
from models.metric import Metric, MetricCard, MetricUnavailableError
from models.metrics import find_metric

pytest.importorskip("pyiqa")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pyiqa
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    BEFORE = copy.deepcopy(dict(DEFAULT_CONFIGS))
    from models import pyiqa_registration


class Brightness(Metric):
    """A metric of ours that is none of those in the catalogue."""

    card = MetricCard(
        name="brightness", summary="mean", higher_is_better=True, range=(0, None), range_is_exact=False,
        differentiable=True, version="1", license="none",
    )  # fmt: skip
    state = AVAILABLE

    def availability(self):
        return self.state

    def score(self, images):
        return images.mean(dim=(1, 2, 3))


class OurMetaIQA(Brightness):
    card = Brightness.card.model_copy(update={"name": "metaiqa"})


@pytest.fixture
def brightness(monkeypatch):
    """The fake among the real ones, under a name that is free and under one that pyiqa has."""
    ours = {**catalogue.metrics(), "brightness": Brightness(), "metaiqa": OurMetaIQA()}
    monkeypatch.setattr(pyiqa_registration, "metrics", lambda: ours)
    monkeypatch.setattr(pyiqa_registration, "find_metric", lambda name: ours[name])
    monkeypatch.setattr(Brightness, "state", AVAILABLE)
    entries = dict(DEFAULT_CONFIGS)
    yield pyiqa_registration.register()
    DEFAULT_CONFIGS.clear()
    DEFAULT_CONFIGS.update(entries)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("linearity-native", "linearity-native"), ("metaiqa", "purifiqa-metaiqa")]
)
def test_a_metric_of_the_paper_is_created_by_pyiqa_once_its_weights_are_here(ours, theirs, tmp_path, monkeypatch):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path / "weights"))
    small_backbones(monkeypatch)
    weights._loaded.clear()
    name = ours.removesuffix("-native")
    file = tmp_path / "published.pth"
    {"linearity": linearity_file, "metaiqa": metaiqa_file}[name](file, seed=1)
    published.add(name, file)
    pyiqa_registration.register()
    images = load("coffee")[..., :240, :256]
    metric = pyiqa.create_metric(theirs, device="cpu")
    torch.testing.assert_close(metric(images)[:, 0], find_metric(ours)(images))
    weights._loaded.clear()


@pytest.mark.parametrize("name", ["niqe", "brisque"])
def test_a_name_that_pyiqa_has_is_ours_with_a_prefix(name):
    images = load("chelsea")
    metric = pyiqa.create_metric(f"purifiqa-{name}", device="cpu")
    scores = metric(images)
    assert scores.shape == (1, 1)
    assert not scores.requires_grad
    assert scores.item() == find_metric(name)(images).item()
    assert metric.lower_better
    assert metric.metric_mode == "NR"
    assert metric.score_range == "~0, ~100"


def test_every_metric_of_ours_is_registered_and_pyiqas_own_are_not_twice():
    cards = [metric.card for metric in catalogue.metrics().values() if not metric.card.name.startswith("pyiqa:")]
    ours = {name for card in cards for name in (card.name, *card.aliases)}
    registered = pyiqa_registration.register()
    assert set(registered.values()) == ours
    assert set(registered) <= set(pyiqa.list_models("NR"))
    assert not any("pyiqa:" in name for name in DEFAULT_CONFIGS)


def test_pyiqas_own_metrics_are_what_they_were(brightness):
    assert {name: DEFAULT_CONFIGS[name] for name in BEFORE} == BEFORE
    from pyiqa.archs import build_network
    from pyiqa.archs.metaiqa_arch import MetaIQA

    assert DEFAULT_CONFIGS["metaiqa"]["metric_opts"]["type"] == "MetaIQA"
    assert type(build_network({"type": "MetaIQA", "pretrained": False})) is MetaIQA


def test_a_new_metric_needs_no_line_here(brightness):
    assert brightness["brightness"] == "brightness"
    assert brightness["purifiqa-metaiqa"] == "metaiqa"
    metric = pyiqa.create_metric("brightness", device="cpu")
    assert metric(torch.full((3, 3, 20, 30), 0.25)).tolist() == [[0.25]] * 3
    assert metric(torch.full((3, 1, 20, 30), 0.25)).tolist() == [[0.25]] * 3, "gray images too"
    assert metric(torch.full((1, 3, 20, 30), 1 + 5e-7)).item() == 1.0, "pyiqa lets rounding pass"
    assert not metric.lower_better
    assert metric.score_range == "~0, ~"


def test_registering_again_changes_nothing(brightness):
    entries = copy.deepcopy(dict(DEFAULT_CONFIGS))
    assert pyiqa_registration.register() == brightness
    assert dict(DEFAULT_CONFIGS) == entries
    importlib.import_module("models.pyiqa_registration")
    assert dict(DEFAULT_CONFIGS) == entries


def test_as_a_loss_it_has_a_gradient_and_the_wanted_reduction(brightness):
    images = torch.rand(2, 3, 16, 20, requires_grad=True)
    loss = pyiqa.create_metric("brightness", as_loss=True, device="cpu")(images)
    assert loss.shape == ()
    loss.backward()
    assert torch.allclose(images.grad, torch.full_like(images, 1 / images.numel()))
    assert pyiqa.create_metric("brightness", as_loss=True, loss_reduction="none", device="cpu")(images).shape == (2, 1)
    with pytest.raises(ValueError, match="images must lie in"):
        pyiqa.create_metric("brightness", as_loss=True, device="cpu")(images + 0.5)


def test_niqe_as_a_loss_has_a_gradient():
    images = load("chelsea")[..., :200, :200].requires_grad_()
    pyiqa.create_metric("purifiqa-niqe", as_loss=True, device="cpu")(images).backward()
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().max() > 0


def test_half_and_double_precision_are_scored_in_single(brightness):
    metric = pyiqa.create_metric("brightness", device="cpu")
    for kind in (torch.float16, torch.float64):
        assert metric(torch.full((1, 3, 16, 16), 0.5, dtype=kind)).dtype == torch.float32


def test_it_moves_with_the_metric(brightness):
    metric = pyiqa.create_metric("brightness", device="cpu").to("meta")
    assert metric.net(torch.empty(2, 1, 16, 16, device="cpu").fill_(0.5)).device.type == "cpu"
    assert not list(metric.net.parameters()), "it goes by the images' device: there is nothing to move"


def test_one_without_its_weights_says_what_to_do(brightness, monkeypatch):
    monkeypatch.setattr(
        Brightness, "state", unavailable("its weights were not added", "Run: purifiqa weights add X FILE")
    )
    with pytest.raises(MetricUnavailableError, match=r"brightness cannot be used here: .*purifiqa weights add X FILE"):
        pyiqa.create_metric("brightness", device="cpu")


def test_a_foreign_metric_of_the_name_that_is_left_is_not_replaced(monkeypatch, brightness):
    DEFAULT_CONFIGS["purifiqa-niqe"] = {"metric_opts": {"type": "Foreign"}, "metric_mode": "NR"}
    with pytest.raises(ValueError, match="'purifiqa-niqe'"):
        pyiqa_registration.register()


@pytest.mark.slow
def test_the_catalogue_alone_does_not_import_pyiqa():
    code = "import sys, models.metrics; models.metrics.metrics()['niqe']; print('pyiqa' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_papers_spaq_is_known_by_that_name_too():
    names = pyiqa_registration.register()
    assert names["spaq"] == "spaq"
    assert DEFAULT_CONFIGS["spaq"]["metric_opts"]["metric"] == "spaq"
