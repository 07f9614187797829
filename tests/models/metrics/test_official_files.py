"""The authors' files as they are published: what is taken from them, what is kept, and what is refused."""

import hashlib
import subprocess

import pytest
import torch
from official_files import Command, linearity_file, metaiqa_file, small_backbones, spaq_file, trained
from safetensors.torch import load_file, save_file

from models import checkpoints, published
from models.checkpoints import CheckpointError, git_digest
from models.iqa import linearity, metaiqa, spaq
from models.iqa.weights import picture
from models.metrics import find_metric

SPAQ = ["spaq-bl", "spaq-mt-e", "spaq-mt-a", "spaq-mt-s"]


@pytest.fixture(autouse=True)
def own_weights(tmp_path, monkeypatch, request):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path / "weights"))
    if "whole" not in request.fixturenames:
        small_backbones(monkeypatch)


@pytest.fixture
def whole():
    """Of a test that asks for it, the networks are whole."""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "published.pth"


def kept(name):
    return load_file(checkpoints.folder(name) / "model.safetensors")


def same(state, expected):
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


# What is taken


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_of_linearitys_checkpoint_the_network_and_its_lines_are_kept(file, legacy):
    network = linearity_file(file, legacy=legacy)
    facts = published.add("linearity", file)
    state = kept("linearity")
    assert state.pop("k").tolist() == [20, 21, 22]
    assert state.pop("b").tolist() == [50, 30, 10]
    same(state, network.state_dict())
    assert (facts.kind, facts.source) == ("metric", "published.pth")
    assert facts.source_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_linearitys_score_is_the_fused_head_on_the_first_line_and_never_the_last(file):
    network = linearity_file(file)
    published.add("linearity", file)
    image = picture()
    third, fourth, fused = (head.item() for head in network(linearity.normalized(image)))
    assert find_metric("linearity-native")(image).item() == pytest.approx(fused * 20 + 50, rel=1e-5)
    assert (
        len({round(value, 3) for value in (third * 20 + 50, fourth * 20 + 50, fused * 20 + 50, fused * 22 + 10)}) == 4
    )


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_metaiqas_pickled_network_is_kept_as_its_tensors(file, legacy):
    network = metaiqa_file(file, legacy=legacy)
    facts = published.add("metaiqa", file)
    same(kept("metaiqa"), network.state_dict())
    assert facts.config["notes"][-1].startswith(
        "it is not one of the published files TID2013_KADID10K_IQA_Meta_resnet18.pt, TID2013"
    )
    assert find_metric("metaiqa-native")(picture()).item() == pytest.approx(
        network(metaiqa.normalized(picture())).item(), rel=1e-5
    )


def test_metaiqas_plain_state_dict_is_taken_too(file):
    network = trained(metaiqa.MetaIQA)
    torch.save(network.state_dict(), file)
    published.add("metaiqa", file)
    same(kept("metaiqa"), network.state_dict())


def test_a_published_file_that_is_known_is_recognized_by_its_git_sha1(file, monkeypatch):
    metaiqa_file(file)
    subprocess.run(["git", "init", "-q", str(file.parent)], check=True)
    sha1 = subprocess.run(
        ["git", "hash-object", str(file)], cwd=file.parent, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert git_digest(file) == sha1
    from models.metrics import metaiqa as module

    first, second = module._FILES
    weights = module._WEIGHTS._replace(published=(first, second.model_copy(update={"git_sha1": sha1})))
    assert weights.add(file).config["notes"] == ["it is the published TID2013_IQA_Meta_resnet18.pt"]


@pytest.mark.parametrize(("name", "wrapped"), [*((name, True) for name in SPAQ), ("spaq-bl", False)])
def test_spaqs_files_are_taken_wrapped_or_plain(file, name, wrapped):
    network = spaq_file(file, name, wrapped=wrapped)
    published.add(name, file)
    same(kept(name), network.state_dict())
    expected = spaq.native(network, picture()).item()
    assert find_metric(f"{name}-native")(picture()).item() == pytest.approx(expected, rel=1e-5)


def test_the_prefix_of_dataparallel_is_dropped(file):
    network = linearity_file(file, prefix="module.")
    published.add("linearity", file)
    state = kept("linearity")
    assert {name: tensor for name, tensor in state.items() if name not in "kb"}.keys() == network.state_dict().keys()


def test_what_was_converted_before_in_half_precision_without_counters_is_taken(file):
    network = trained(spaq.Baseline)
    state = {name: value.half() for name, value in network.state_dict().items() if not name.endswith("_tracked")}
    save_file(state, file.with_suffix(".safetensors"))
    published.add("spaq-bl", file.with_suffix(".safetensors"))
    assert kept("spaq-bl")["backbone.fc.weight"].dtype == torch.float32
    assert len(kept("spaq-bl")) == len(network.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write"), [("linearity", linearity_file), ("metaiqa", metaiqa_file), ("spaq-bl", spaq_file)]
)
def test_a_whole_network_is_added_and_scores_as_it_did_before(file, whole, name, write):
    network = write(file)
    published.add(name, file)
    state = {key: tensor for key, tensor in kept(name).items() if key not in linearity.LINES}
    same(state, network.state_dict())
    with torch.no_grad():
        if name == "linearity":
            expected = network(linearity.normalized(picture()))[-1] * 20 + 50
        else:
            expected = {"metaiqa": metaiqa, "spaq-bl": spaq}[name].native(network, picture())
        score = find_metric(f"{name}-native")(picture()).item()
    assert score == pytest.approx(expected.item(), rel=1e-4)


# What is refused


def test_the_placeholders_of_an_interrupted_training_are_refused(file):
    linearity_file(file, k=(1, 1, 1), b=(0, 0, 0))
    with pytest.raises(CheckpointError, match=r"holds the placeholders k=\[1.0, 1.0, 1.0\], b=\[0.0, 0.0, 0.0\]"):
        published.add("linearity", file)
    assert checkpoints.names() == []


def change(file, **values):
    checkpoint = torch.load(file, weights_only=True)
    torch.save({key: value for key, value in {**checkpoint, **values}.items() if value is not None}, file)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"k": None}, "it lacks k"),
        ({"k": None, "b": None, "model": None}, "it lacks model and k and b"),
        ({"k": [1.0, 2.0]}, "k is not a list of three numbers"),
        ({"b": [1.0, float("nan"), 2.0]}, "is damaged: b is"),
        ({"k": [torch.ones(2), 1.0, 2.0]}, "k is not a list of three numbers"),
        ({"k": [10**400, 1, 2]}, "k is not a list of three numbers"),
        ({"k": torch.ones(3, device="meta")}, "k is not a list of three numbers"),
        ({"k": [0.0, 21.0, 22.0]}, "scores two different pictures alike, as 50.0"),
        ({"model": [1]}, "its model is not a dictionary"),
        ({"model": {}}, "lacks .* tensors"),
        ({"model": {"features.0.weight": 3}}, "lacks .* tensors"),
    ],
)
def test_what_is_no_checkpoint_of_linearity_is_refused_with_the_cure(file, changed, told):
    linearity_file(file)
    change(file, **changed)
    with pytest.raises(CheckpointError, match=told) as caught:
        published.add("linearity", file)
    assert str(file) in str(caught.value)
    assert "linearity is published as p1q2.pth at https://drive.google.com" in str(caught.value)


def broken(state, how):
    name = "backbone.layer4.0.conv2.weight"
    match how:
        case "shape":
            return {**state, name: state[name][:1]}
        case "nan":
            return {**state, name: state[name] * float("nan")}
        case "missing":
            return {key: value for key, value in state.items() if key != name}
        case "more":
            return {**state, "extra.weight": torch.ones(1)}
        case "no tensor":
            return {**state, name: 3}
        case "whole numbers":
            return {**state, name: state[name].long()}
        case "complex":
            return {**state, name: state[name] + 1j}
        case "sparse":
            return {**state, name: state[name].to_sparse()}
        case "nowhere":
            return {**state, name: state[name].to("meta")}
        case "beyond float32":
            return {**state, name: state[name].double() + 1e300}
        case "new":
            return trained(spaq.Baseline, train=False).state_dict()
        case "zero":
            return {key: value if "running" in key else value * 0 for key, value in state.items()}
        case "huge":
            return {**state, name: torch.ones(1).expand(10**6, 10**6)}


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("shape", "is .* instead of"),
        ("nan", "holds NaN"),
        ("missing", "lacks 1 tensors, such as backbone"),
        ("more", "1 too many, such as extra"),
        ("no tensor", "is a int"),
        ("huge", r"is \(1000000, 1000000\) instead of"),
        ("whole numbers", "conv2.weight is strided of int64, no plain real numbers"),
        ("complex", "strided of complex64"),
        pytest.param("sparse", "sparse_coo of float32", marks=pytest.mark.filterwarnings("ignore:Validating sparse")),
        ("nowhere", "on no device"),
        ("beyond float32", "holds NaN or infinity"),
        ("new", "was never trained"),
        ("zero", "scores two different pictures alike, as 0.0"),
    ],
)
def test_weights_that_do_not_fit_are_refused(file, how, told):
    torch.save({"state_dict": broken(trained(spaq.Baseline).state_dict(), how)}, file)
    with pytest.raises(CheckpointError, match=told) as caught:
        published.add("spaq-bl", file)
    assert "spaq-bl is published as BL_release.pt at https://drive.google.com" in str(caught.value)
    assert checkpoints.names() == []


def test_another_metrics_file_is_refused(file):
    spaq_file(file, "spaq-mt-a")
    with pytest.raises(CheckpointError, match=r"backbone.fc.weight is \(6, 2048\) instead of \(1, 2048\)"):
        published.add("spaq-bl", file)


@pytest.mark.parametrize("name", ["linearity", "metaiqa", "spaq-bl"])
def test_a_file_that_would_run_a_command_is_refused_and_the_command_named(file, tmp_path, name):
    trap = tmp_path / "ran"
    torch.save({"state_dict": Command(f"touch {trap}")}, file)
    with pytest.raises(CheckpointError, match=r"holds more than tensors.*posix\.system"):
        published.add(name, file)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["linearity", "metaiqa", "spaq-bl"])
def test_a_file_that_is_cut_off_or_absent_is_told(file, name):
    with pytest.raises(CheckpointError, match="is not a file"):
        published.add(name, file)
    torch.save({"state_dict": {"a": torch.ones(1000)}}, file)
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        published.add(name, file)


def test_weights_that_score_nan_are_refused_and_implausible_ones_are_told(file):
    linearity_file(file, k=(1e5, 1, 1), b=(1e6, 1, 1))
    facts = published.add("linearity", file)
    assert "is not a plausible score" in facts.config["notes"][0]
    linearity_file(file, k=(1e300, 1, 1))
    state = torch.load(file, weights_only=True)
    state["model"]["regression.weight"] += 1e38
    torch.save(state, file)
    with pytest.raises(CheckpointError, match="is damaged: it scores a picture as"):
        published.add("linearity", file)


def test_every_published_file_of_a_metric_says_where_it_comes_from():
    entries = [entry for entry in published.PUBLISHED.values() if entry.kind == "metric"]
    assert [entry.published.name for entry in entries] == ["linearity", "metaiqa", *SPAQ]
    for entry in entries:
        one = entry.published
        assert one.url.startswith("https://")
        assert one.license
        assert ("pull" in one.cure) is (one.download is not None)
