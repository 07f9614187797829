"""Weights of restoration networks: what is accepted, what is refused and how, and what comes back."""

import os

import pytest
import torch
from restoration_networks import compact, mprnet, rrdb, saved
from safetensors.torch import save_file
from spandrel import ModelLoader
from spandrel.architectures.DRUNet import DRUNet
from spandrel.architectures.NAFNet import NAFNet

from models import checkpoints
from models.checkpoints import CheckpointError
from models.restoration import networks as restoration
from models.restoration.mprnet import shaped_like

CPU = torch.device("cpu")
ADD = {entry.published.name: entry.add for entry in restoration.PUBLISHED}


@pytest.fixture(autouse=True)
def own_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("PURIFIQA_PRECISION", "float32")


def of_spandrel(state):
    return ModelLoader(device="cpu").load_from_state_dict(dict(state))


def of_mprnet(state):
    network = shaped_like(state)
    network.load_state_dict(state)
    return network.eval()


@pytest.mark.parametrize(
    ("state", "architecture", "scale"),
    [
        (compact(), "RealESRGAN Compact", 4),
        (compact(scale=1), "RealESRGAN Compact", 1),
        (rrdb(), "ESRGAN", 4),
        (mprnet(), "MPRNet", 1),
    ],
    ids=["compact-4", "compact-1", "rrdb", "mprnet"],
)
def test_a_network_is_known_by_its_weights_and_restores_what_it_should(tmp_path, state, architecture, scale):
    facts = restoration.adopt("some.net-1", saved(state, tmp_path / "net.pth"))
    assert (facts.kind, facts.source) == ("restorer", "net.pth")
    assert facts.config == {"architecture": architecture, "scale": scale}
    restorer = restoration.load("some.net-1", CPU)
    image = torch.rand(1, 3, 24, 40)
    with torch.no_grad():
        expected = (of_mprnet if architecture == "MPRNet" else of_spandrel)(state)(image).clamp(0, 1)
        torch.testing.assert_close(restorer.whole(image), expected, atol=1e-5, rtol=0)
    assert expected.shape == (1, 3, 24 * scale, 40 * scale)
    assert restoration.load("some.net-1", CPU) is restorer


def test_tiles_of_a_network_that_looks_at_the_whole_image_fade_into_each_other(tmp_path):
    state = NAFNet(img_channel=3, width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]).state_dict()
    for name, weights, is_local in (("naf", state, False), ("small", compact(), True)):
        restoration.adopt(name, saved(weights, tmp_path / f"{name}.pth"))
        assert restoration.load(name, CPU).local is is_local, name


def test_a_network_that_needs_more_than_the_image_gets_it_and_keeps_its_gradient(tmp_path):
    """DRUNet wants a map of the noise as a fourth channel."""
    state = DRUNet(in_nc=4, out_nc=3, nc=[8, 8, 8, 8], nb=2).state_dict()
    assert restoration.adopt("net", saved(state, tmp_path / "net.pth")).config["architecture"] == "DRUNet"
    images = (0.25 + 0.5 * torch.rand(2, 3, 24, 40)).requires_grad_()
    restorer = restoration.load("net", CPU)
    restored = restorer.whole(images)
    torch.testing.assert_close(restored, torch.cat([restorer.whole(image) for image in images.split(1)]))
    restored.sum().backward()
    assert float(images.grad.abs().max()) > 0


@pytest.mark.parametrize("wrap", ["params_ema", "params", "state_dict"])
def test_weights_are_found_in_what_training_code_wraps_them_in(tmp_path, wrap):
    state = compact()
    plain = restoration.adopt("net", saved(state, tmp_path / "net.pth"))
    wrapped = {wrap: {f"module.{key}": value for key, value in state.items()}, "epoch": 3}
    assert restoration.adopt("net", saved(wrapped, tmp_path / "net.ckpt")).sha256 == plain.sha256
    save_file(state, tmp_path / "net.safetensors")
    assert restoration.adopt("net", tmp_path / "net.safetensors").sha256 == plain.sha256


def test_averaged_weights_win_and_half_precision_and_shared_memory_are_accepted(tmp_path):
    state = {key: value.half() for key, value in compact().items()}
    state["body.3.weight"] = state["body.1.weight"]
    both = {"params": compact(seed=1), "params_ema": state}
    restoration.adopt("net", saved(both, tmp_path / "net.pth"))
    kept, _ = checkpoints.load("net", "restorer")
    for key, value in state.items():
        assert torch.equal(kept[key], value.float())


def test_weights_that_are_replaced_are_read_again(tmp_path):
    image = torch.rand(1, 3, 16, 16)
    outputs = []
    for seed in (0, 1):
        restoration.adopt("net", saved(compact(seed), tmp_path / "net.pth"))
        outputs.append(restoration.load("net", CPU).whole(image))
    assert not torch.equal(*outputs)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch purifiqa-was-here",)


def with_nan(state):
    state["body.0.weight"][0, 0, 0, 0] = torch.nan
    return state


def cut_off(state):
    return {key: value[:, :2] if key == "body.2.weight" else value for key, value in state.items()}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Hostile(), "refused"),
        ({"params": Hostile()}, "refused"),
        ([1, 2], "holds a list"),
        ({}, "no named tensors"),
        ({"params": {"epoch": 3}}, "no named tensors"),
        ({1: torch.ones(3)}, "no named tensors"),
        ({"weight": torch.ones(3).to_sparse()}, "no named tensors"),
        (torch.nn.Linear(3, 3).state_dict(), "an unknown architecture"),
        (compact(channels=1), "1 channels into 1"),
        (cut_off(compact()), "another architecture"),
        (with_nan(compact()), "NaN"),
        ({"stage3_orsnet.orb1.body.0.body.0.weight": torch.ones(3)}, "another architecture"),
    ],
    ids=[
        "code",
        "code-inside",
        "list",
        "empty",
        "no-weights",
        "numbered",
        "sparse",
        "linear",
        "gray",
        "cut",
        "nan",
        "almost-mprnet",
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_what_is_no_restoration_network_is_refused_naming_the_file(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    file = saved(content, tmp_path / "wrong.pth")
    with pytest.raises(CheckpointError, match=reason) as refused:
        restoration.adopt("net", file)
    assert str(file) in str(refused.value)
    assert not (tmp_path / "purifiqa-was-here").exists()
    assert checkpoints.names() == []


def test_files_that_are_missing_or_torn_and_names_that_are_paths_are_refused(tmp_path):
    file = saved(compact(), tmp_path / "net.pth")
    (tmp_path / "torn.pth").write_bytes(file.read_bytes()[:-2000])
    for name in ("torn.pth", "missing.pth", "missing.safetensors"):
        with pytest.raises(CheckpointError, match=name):
            restoration.adopt("net", tmp_path / name)
    with pytest.raises(CheckpointError, match="not a name"):
        restoration.adopt("../net", file)
    with pytest.raises(CheckpointError, match="purifiqa weights add net FILE"):
        restoration.load("net", CPU)


def test_a_network_that_makes_infinity_is_told_to_be_damaged(tmp_path):
    state = {key: value * 1e20 for key, value in compact().items()}
    with pytest.raises(CheckpointError, match=r"is damaged: its .* returns NaN or infinity"):
        restoration.adopt("net", saved(state, tmp_path / "net.pth"))


def test_weights_that_are_gone_make_it_unavailable_and_name_the_file_and_the_cure(tmp_path):
    restoration.adopt("net", saved(compact(), tmp_path / "net.pth"))
    file = checkpoints.folder("net") / checkpoints.WEIGHTS
    file.unlink()
    availability = checkpoints.availability("net", restoration.KIND)
    assert not availability.available
    assert availability.explanation == f"{file} is missing. Run: purifiqa weights add net FILE --force"


def test_weights_that_changed_on_the_disk_are_refused(tmp_path):
    restoration.adopt("net", saved(compact(seed=7), tmp_path / "net.pth"))
    file = checkpoints.folder("net") / checkpoints.WEIGHTS
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(
        CheckpointError, match=r"has changed since it was added\. Run: purifiqa weights add net FILE --force"
    ):
        restoration.load("net", CPU)


def test_real_esrgan_is_a_fifth_of_the_general_weights_and_four_of_the_others(tmp_path):
    general, wdn = compact(0), compact(1)
    saved({"params": wdn}, tmp_path / restoration.WDN.file)
    facts = ADD["real-esrgan"](saved({"params": general}, tmp_path / restoration.GENERAL.file))
    assert facts.config["denoise_strength"] == 0.2
    kept, _ = checkpoints.load("real-esrgan", "restorer")
    for key, value in kept.items():
        torch.testing.assert_close(value, 0.2 * general[key] + 0.8 * wdn[key])


def test_real_esrgan_needs_both_files_and_says_which_is_wrong(tmp_path):
    file, partner = tmp_path / restoration.GENERAL.file, tmp_path / restoration.WDN.file
    saved(compact(0), file)
    with pytest.raises(CheckpointError, match=f"{partner} is missing.*https://github.com/xinntao"):
        ADD["real-esrgan"](file)
    saved(compact(1, convs=4), partner)
    with pytest.raises(CheckpointError, match=f"{partner} is of another architecture"):
        ADD["real-esrgan"](file)
    saved(compact(0), partner)
    with pytest.raises(CheckpointError, match="holds the weights of"):
        ADD["real-esrgan"](file)
    with pytest.raises(CheckpointError, match="is only the partner file"):
        ADD["real-esrgan"](partner)


def test_mprnet_is_added_by_name_and_nothing_else_is_taken_for_it(tmp_path):
    assert ADD["mprnet"](saved({"state_dict": mprnet()}, tmp_path / "mprnet_denoise.pth")).kind == "restorer"
    with pytest.raises(CheckpointError, match="not MPRNet: download https"):
        ADD["mprnet"](saved(compact(), tmp_path / "mprnet_denoise.pth"))
    with pytest.raises(CheckpointError, match="not a file"):
        ADD["mprnet"](tmp_path / "missing.pth")
