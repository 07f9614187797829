import contextlib
import importlib.util
import io
import logging
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from models.metric import Availability, MetricError, MetricUnavailableError, UnsuitableSizeError
from models.metrics import find_metric, pyiqa_metrics
from models.metrics.pyiqa_metrics import PyiqaMetric, read_facts
from models.weights import from_home

FACTS = read_facts()
ROOT = Path(__file__).parents[3]


@pytest.fixture
def weights_folder(tmp_path, monkeypatch):
    """An empty folder in which every library looks for weights."""
    monkeypatch.delitem(sys.modules, "huggingface_hub.constants", raising=False)
    for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def hide(monkeypatch):
    """A function that makes a module look as if it were not installed."""
    find = importlib.util.find_spec
    return lambda name: monkeypatch.setattr(
        importlib.util, "find_spec", lambda wanted, *args: None if wanted == name else find(wanted, *args)
    )


@pytest.fixture(scope="module")
def picture():
    """Shades, an edge and texture, the same 8-bit values on any machine, (1, 3, 96, 128)."""
    y, x = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    planes = torch.stack([x + y, 2 * y, 220 - x]) + 40 * ((x - 60) ** 2 + (y - 40) ** 2 < 900)
    texture = (x * 7919 + y * 104729 + torch.arange(3)[:, None, None] * 1299709) * 2654435761 % 2**32 // 2**27 - 16
    return (planes + texture).clamp(0, 255)[None].float() / 255


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


# Listing


def test_listing_with_availability_imports_nothing_and_reads_no_weights():
    family, seen, listens = list(PyiqaMetric.family()), [], True

    def note(event, arguments):
        if listens and event in ("import", "open"):
            seen.append((event, arguments[0]))

    sys.addaudithook(note)
    states = [metric.availability() for metric in family]
    listens = False
    assert len(states) == 74
    assert [one for one in seen if not str(one[1]).endswith("refs/main")] == []


def test_a_card_says_which_pyiqa_gives_the_number_and_under_which_licence():
    from importlib.metadata import version

    card = find_metric("musiq").card
    assert card.version == f"pyiqa {version('pyiqa')}"
    assert "Noncommercial" in card.license
    assert card.weights == ("musiq_koniq_ckpt-e95806b9.pth",)
    assert card.human_trained is True


# Availability


@pytest.mark.parametrize("name", ["cnniqa", "clipiqa+", "arniqa", "laion_aes", "topiq_iaa", "qualiclip+-clive"])
def test_a_metric_becomes_available_the_moment_its_last_file_is_there(name, weights_folder):
    metric = find_metric(f"pyiqa:{name}")
    for weight in metric.facts.needs:
        state = metric.availability()
        assert not state.available
        assert weight.name in state.reason
        assert str(from_home(weight.path().parent)) in state.reason
        assert f"save {weight.url} as {from_home(weight.path())}" in state.cure
        assert str(weight.path()).startswith(str(weights_folder))
        touch(weight.path())
    assert metric.availability().available
    metric.facts.needs[0].path().unlink()
    assert not metric.availability().available


def test_a_plus_sign_in_a_files_name_is_looked_for_as_pyiqa_writes_it(weights_folder):
    names = [path.name for path in (weight.path() for weight in FACTS["clipiqa+"].needs)]
    assert names == ["RN50.pt", "CLIP-IQA%2B_learned_prompts-603f3273.pth"]


def test_a_backbone_from_hugging_face_is_found_in_its_cache(weights_folder):
    metric = find_metric("pyiqa:hyperiqa")
    cache = weights_folder / "huggingface" / "hub"
    assert f"run HF_HUB_CACHE={cache} hf download timm/resnet50.a1_in1k" in metric.availability().cure
    model = cache / "models--timm--resnet50.a1_in1k"
    touch(model / "snapshots" / "767268603ca0cb0bfe326fa87277f19c419566ef" / "model.safetensors")
    touch(weights_folder / "torch/hub/pyiqa/HyperIQA-resnet50-koniq10k-c96c41b1.pth")
    assert not metric.availability().available
    touch(model / "refs" / "main")
    (model / "refs" / "main").write_text("767268603ca0cb0bfe326fa87277f19c419566ef")
    assert metric.availability().available


def test_without_pyiqa_its_metrics_are_listed_with_the_command_that_installs_it(hide, picture):
    hide("pyiqa")
    family = {metric.name: metric for metric in PyiqaMetric.family()}
    assert set(family) == set(FACTS)
    piqe = family["piqe"]
    assert piqe.card.version == "pyiqa (not installed)"
    assert piqe.availability().reason == "pyiqa is not installed"
    assert "pip install 'purifiqa[pyiqa]'" in piqe.availability().cure
    with pytest.raises(MetricUnavailableError, match=r"pip install 'purifiqa\[pyiqa\]'"):
        piqe(picture)


def test_a_setuptools_that_clip_cannot_use_is_named_before_it_fails(hide, weights_folder):
    hide("pkg_resources")
    state = find_metric("clipiqa").availability()
    assert state.reason == "pkg_resources is not installed"
    assert "setuptools<81" in state.cure
    assert "setuptools<81" not in find_metric("musiq").availability().cure


@pytest.mark.parametrize("name", ["fid", "sfid", "fid_dinov2", "inception_score", "clipscore", "fgresq"])
def test_a_metric_that_cannot_serve_says_why(name):
    state = find_metric(f"pyiqa:{name}").availability()
    assert not state.available
    assert state.reason
    assert "piqe" in state.cure


# Sizes


@pytest.mark.parametrize(
    ("name", "suitable", "unsuitable", "message"),
    [
        ("niqe", (96, 96), (95, 300), "at least 96 pixels"),
        ("afine_nr", (32, 96), (64, 65), "multiples of 32"),
        ("musiq", (16, 16 * 447), (16, 16 * 447 + 1), "at most 447 times as long"),
        ("entropy", (1080, 1920), (2048, 1025), "at most 2097152 pixels"),
    ],
)
def test_a_size_that_a_metric_cannot_take_is_refused_with_what_it_can(name, suitable, unsuitable, message):
    metric = find_metric(f"pyiqa:{name}")
    metric.check_size(*suitable)
    with pytest.raises(UnsuitableSizeError, match=message):
        metric.check_size(*unsuitable)


# Scoring


@pytest.mark.parametrize("name", ["piqe", "entropy"])
def test_scores_are_those_of_plain_pyiqa(name, picture):
    batch = torch.cat([picture, picture.flip(3), 0.5 * picture])
    ours = find_metric(f"pyiqa:{name}")(batch)
    import pyiqa

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        plain = pyiqa.create_metric(name, device="cpu")
    assert torch.allclose(ours, plain(batch).reshape(-1), atol=1e-5)


def test_known_scores_stay_what_they_were(picture):
    assert find_metric("pyiqa:piqe")(picture).item() == pytest.approx(42.83634, abs=1e-3)
    assert find_metric("pyiqa:entropy")(picture).item() == pytest.approx(7.22398, abs=1e-3)


def test_no_graph_is_kept_where_no_gradient_is_wanted(picture):
    wanted = picture.clone().requires_grad_()
    with torch.no_grad():
        assert not find_metric("pyiqa:piqe")(wanted).requires_grad
    assert not find_metric("pyiqa:piqe")(wanted).requires_grad
    with torch.inference_mode():
        assert not find_metric("pyiqa:piqe")(wanted).requires_grad


def test_an_image_is_not_changed_by_being_scored(picture):
    before = picture.clone()
    find_metric("pyiqa:piqe")(picture)
    assert torch.equal(picture, before)


def test_a_black_image_is_an_error_and_not_a_number():
    with pytest.raises(MetricError, match="not finite"):
        find_metric("pyiqa:piqe")(torch.zeros(1, 3, 32, 32))


def test_the_process_is_left_as_it_was(picture, capfd):
    find_metric("pyiqa:piqe")(picture)  # imports pyiqa, once in this process
    metric = next(metric for metric in PyiqaMetric.family() if metric.name == "piqe")
    pyiqa_metrics._networks.pop(("piqe", torch.device("cpu")))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load, filters, variables = nn.Module.load_state_dict, list(warnings.filters), dict(os.environ)
    metric(picture)
    assert torch.equal(torch.rand(1), expected)
    assert nn.Module.load_state_dict is load
    assert warnings.filters == filters
    assert dict(os.environ) == variables
    assert not torch.backends.cudnn.deterministic
    assert logging.getLogger("pyiqa").handlers == []
    assert logging.getLogger("pyiqa").propagate
    assert capfd.readouterr() == ("", "")


def test_the_networks_used_last_are_kept_and_no_others(picture, monkeypatch):
    loaded = []
    monkeypatch.setattr(pyiqa_metrics, "_networks", {})
    monkeypatch.setattr(pyiqa_metrics, "_MOST_NETWORKS", 2)
    monkeypatch.setattr(PyiqaMetric, "availability", lambda self: Availability(available=True))
    monkeypatch.setattr(pyiqa_metrics, "_create", lambda _, name, *rest: loaded.append(name) or Rude())
    for name in ("musiq", "hyperiqa", "musiq", "dbcnn", "musiq", "hyperiqa"):
        find_metric(f"pyiqa:{name}")(picture)
    assert loaded == ["musiq", "hyperiqa", "dbcnn", "hyperiqa"]


class Rude(nn.Module):
    """A network as some of pyiqa's are: it takes one image at a time and writes into it."""

    def forward(self, images):
        assert len(images) == 1, "only one image"
        return images.mul_(2).mean().reshape(1, 1).double()


@pytest.fixture
def put_in(monkeypatch):
    """A function that makes a network of ours stand for one of pyiqa's."""

    def put_in(name, network):
        monkeypatch.setattr(PyiqaMetric, "availability", lambda self: Availability(available=True))
        monkeypatch.setitem(pyiqa_metrics._networks, (name, torch.device("cpu")), network)
        return find_metric(f"pyiqa:{name}")

    return put_in


def test_a_network_that_takes_one_image_and_writes_into_it_does_no_harm(put_in):
    images = torch.rand(3, 3, 64, 64)
    before = images.clone()
    scores = put_in("afine_nr", Rude())(images)
    assert torch.equal(images, before)
    assert torch.allclose(scores, 2 * before.mean((1, 2, 3)))
    assert scores.dtype == torch.float32


def test_what_pyiqa_refuses_is_an_error_of_the_metric(put_in):
    with pytest.raises(MetricError, match="pyiqa:cnniqa could not score the image: only one image"):
        put_in("cnniqa", Rude())(torch.rand(2, 3, 64, 64))


def test_a_network_that_wants_to_download_while_it_scores_is_refused(put_in):
    class Greedy(nn.Module):
        def forward(self, images):
            return torch.hub.load_state_dict_from_url("https://example.org/weights-that-nobody-has.pth")

    with pytest.raises(MetricError, match="nothing is downloaded while an image is being scored"):
        put_in("cnniqa", Greedy())(torch.rand(1, 3, 64, 64))


def test_threads_that_score_at_once_get_the_same_scores_and_leave_no_flag_behind(picture):
    metric = find_metric("pyiqa:piqe")
    expected = metric(picture)
    with ThreadPoolExecutor(4) as pool:
        scores = list(pool.map(lambda _: metric(picture), range(16)))
    assert all(torch.equal(score, expected) for score in scores)
    assert not torch.backends.cudnn.deterministic
