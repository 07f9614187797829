import contextlib
import importlib.util
import io
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
from torch import nn

from models.metric import Availability, MetricError, MetricUnavailableError, UnsuitableSizeError
from models.metrics import find_metric, pyiqa_metrics
from models.metrics.pyiqa_metrics import PyiqaMetric, read_facts

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


# The facts


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


def test_a_metric_that_learned_names_the_files_it_learned(pyiqas_metrics):
    without = {name for name, facts in FACTS.items() if not facts.needs and not facts.unusable}
    assert without == {"piqe", "entropy"}


# Listing


def test_listing_imports_neither_pyiqa_nor_torchvision():
    code = (
        "import sys\nfrom models.metrics import metrics\n"
        "print(len([metric.availability() for metric in metrics().values()]))\n"
        "print(sorted({'pyiqa', 'torchvision', 'timm', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert int(lines[0]) >= 74
    assert lines[1] == "[]"


def test_listing_with_availability_is_quick():
    family = list(PyiqaMetric.family())

    def seconds():
        start = time.process_time()
        assert len([metric.availability() for metric in family]) == 74
        return time.process_time() - start

    assert min(seconds() for _ in range(5)) < 0.05


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
        assert str(weight.path().parent) in state.reason
        assert f"save {weight.url} as {weight.path()}" in state.cure
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


def test_fgresq_is_still_unusable_with_the_installed_transformers():
    from importlib.metadata import version

    assert "vision_model" in FACTS["fgresq"].unusable
    assert (
        "self.vision_model"
        not in (SITE / "transformers/models/clip/modeling_clip.py")
        .read_text()
        .partition("class CLIPVisionModel(")[2]
        .partition("\nclass ")[0]
    ), f"transformers {version('transformers')} may serve fgresq again"


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
    assert find_metric("piqe")(picture).item() == pytest.approx(42.83634, abs=1e-3)
    assert find_metric("pyiqa:entropy")(picture).item() == pytest.approx(7.22398, abs=1e-3)


def test_no_graph_is_kept_where_no_gradient_is_wanted(picture):
    wanted = picture.clone().requires_grad_()
    with torch.no_grad():
        assert not find_metric("piqe")(wanted).requires_grad
    assert not find_metric("piqe")(wanted).requires_grad
    with torch.inference_mode():
        assert not find_metric("piqe")(wanted).requires_grad


def test_an_image_is_not_changed_by_being_scored(picture):
    before = picture.clone()
    find_metric("piqe")(picture)
    assert torch.equal(picture, before)


def test_a_black_image_is_an_error_and_not_a_number():
    with pytest.raises(MetricError, match="not finite"):
        find_metric("piqe")(torch.zeros(1, 3, 32, 32))


def test_the_process_is_left_as_it_was(picture, capfd):
    find_metric("piqe")(picture)  # imports pyiqa, once in this process
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
    metric = find_metric("piqe")
    expected = metric(picture)
    with ThreadPoolExecutor(4) as pool:
        scores = list(pool.map(lambda _: metric(picture), range(16)))
    assert all(torch.equal(score, expected) for score in scores)
    assert not torch.backends.cudnn.deterministic


# Loading weights: pyiqa fixes its folder when it is imported, so these run in a process of their own.

LOADING = """
import json, logging, os, sys, warnings
from pathlib import Path
import torch

warnings.simplefilter("error")
torch.manual_seed(0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pyiqa.archs.cnniqa_arch import CNNIQA
    from pyiqa.archs.metaiqa_arch import MetaIQA
    from pyiqa.archs.musiq_arch import MUSIQ
    from pyiqa.archs.topiq_arch import CFANet
    import safetensors.torch, timm, torchvision
from models.metrics import find_metric

folder = Path(os.environ["TORCH_HOME"]) / "hub" / "pyiqa"
folder.mkdir(parents=True)
torch.save({"params": CNNIQA(pretrained=None).state_dict()}, folder / "CNNIQA_koniq10k-e6f14c91.pth")
torch.save(MUSIQ(pretrained=False).state_dict(), folder / "musiq_koniq_ckpt-e95806b9.pth")
(folder / "musiq_spaq_ckpt-358bb6af.pth").write_bytes(b"not a checkpoint")
official = {key.replace("head.", "net."): value for key, value in MetaIQA(pretrained=False).state_dict().items()}
torch.save(official, folder / "Metaiqa_livec.pth")

model = Path(os.environ["HF_HOME"]) / "hub" / "models--timm--resnet50.a1_in1k"
(model / "refs").mkdir(parents=True)
(model / "refs" / "main").write_text("abc")
(model / "snapshots" / "abc").mkdir(parents=True)
safetensors.torch.save_file(timm.create_model("resnet50").state_dict(), model / "snapshots" / "abc" / "model.safetensors")
topiq = CFANet("resnet50", backbone_pretrain=False, use_ref=False, pretrained=False)
torch.save({"params": topiq.state_dict()}, folder / "cfanet_nr_koniq_res50-9a73138b.pth")

class Regressor(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4096, 1)

    def forward(self, features):
        return self.linear(features)

checkpoints = folder.parent / "checkpoints"
checkpoints.mkdir()
resnet = torchvision.models.resnet50()
torch.save(resnet.state_dict(), checkpoints / "resnet50-0676ba61.pth")
encoder = torch.nn.Sequential(*list(resnet.children())[:-1]).state_dict()
torch.save({"model." + key: value for key, value in encoder.items()}, checkpoints / "ARNIQA.pth")
torch.jit.script(Regressor()).save(folder / "regressor_koniq10k.pth")

images = torch.rand(2, 3, 41, 67)
answers = {}
for name in ("cnniqa", "musiq", "metaiqa", "topiq_nr", "arniqa"):
    metric = find_metric("pyiqa:" + name)
    wanted = images.clone().requires_grad_()
    scores = metric(wanted)
    scores.sum().backward()
    with torch.no_grad():
        plain = metric(wanted)
    smallest = metric(torch.rand(1, 3, metric.card.min_side, metric.card.min_side))
    answers[name] = {
        "dtype": str(scores.dtype),
        "shape": list(scores.shape),
        "without_gradient": (scores - plain).abs().max().item(),
        "keeps_graph": plain.requires_grad,
        "alone": max((metric(images[i : i + 1]) - plain[i]).abs().item() for i in range(2)),
        "gradient": wanted.grad.abs().max().item(),
        "finite": bool(torch.isfinite(wanted.grad).all() and torch.isfinite(smallest).all()),
    }
from models.metrics.pyiqa_metrics import _networks
answers["trainable"] = sum(parameter.requires_grad for network in _networks.values() for parameter in network.parameters())
answers["training"] = sum(module.training for network in _networks.values() for module in network.modules())

def failure(name):
    try:
        find_metric("pyiqa:" + name)(images)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

answers["damaged"] = failure("musiq-spaq")
_networks.clear()
torch.save({key: value for key, value in official.items() if "fc3" not in key}, folder / "Metaiqa_livec.pth")
answers["incomplete"] = failure("metaiqa")
torch.save({"params": print}, folder / "CNNIQA_koniq10k-e6f14c91.pth")
answers["code"] = failure("cnniqa")
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What metrics with random weights, in files as pyiqa expects them, answered in a fresh process."""
    folder = tmp_path_factory.mktemp("weights")
    script = folder / "loading.py"  # a file, for TorchScript reads its own source
    script.write_text(LOADING)
    folders = {"TORCH_HOME": str(folder / "torch"), "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(Path.cwd())}
    environment = {**os.environ, **folders, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, "pyiqa's prints reached standard output"
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnniqa", "musiq", "metaiqa", "topiq_nr", "arniqa"])
def test_weights_are_loaded_and_gradients_reach_the_image(name, answers):
    answer = answers[name]
    assert (answer["dtype"], answer["shape"]) == ("torch.float32", [2])
    assert answer["gradient"] > 0
    assert answer["finite"]
    assert answer["keeps_graph"] is False
    assert answer["without_gradient"] < 1e-6
    assert answer["alone"] < 1e-5


@pytest.mark.slow
def test_only_the_image_gets_a_gradient_and_nothing_trains(answers):
    assert (answers["trainable"], answers["training"]) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "file"),
    [
        ("damaged", "musiq_spaq_ckpt-358bb6af.pth"),
        ("incomplete", "Metaiqa_livec.pth"),
        ("code", "CNNIQA_koniq10k-e6f14c91.pth"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_with_where_to_get_it(case, file, answers):
    assert answers[case].startswith("MetricUnavailableError: pyiqa:")
    assert "could not be loaded" in answers[case]
    assert f"save https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/{file} as /" in answers[case]


@pytest.mark.slow
def test_a_network_with_a_random_head_is_never_used(answers):
    assert "lacks 2 of the network's parameters" in answers["incomplete"]


@pytest.mark.slow
def test_a_file_that_vanishes_is_not_downloaded_again(tmp_path):
    """availability() is passed by, as a file deleted between the check and the load would."""
    code = (
        "import torch, models.metric\nfrom models.metrics import find_metric\n"
        "metric = find_metric('pyiqa:topiq_nr')\n"
        "type(metric).availability = lambda self: models.metric.Availability(available=True)\n"
        "metric(torch.rand(1, 3, 64, 64))"
    )
    environment = {**os.environ, "TORCH_HOME": str(tmp_path), "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert "MetricUnavailableError: pyiqa:topiq_nr cannot be used here" in last
    assert "cfanet_nr_koniq_res50-9a73138b.pth" in last
    assert "hf download timm/resnet50.a1_in1k" in last
