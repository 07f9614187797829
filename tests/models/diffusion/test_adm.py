import os

import pytest
import torch
from original_adm import OriginalADM

from models.checkpoints import CheckpointError
from models.diffusion.adm import adm_config, convert, module_names, read_adm
from models.diffusion.unet_files import build, empty

SHAPE = {"width": 32, "multipliers": (1, 2, 2, 4), "attention_from": 2, "head": 16, "layers": 2}
CONFIG = adm_config(size=32, **SHAPE)


@pytest.fixture(scope="module")
def original():
    torch.manual_seed(0)
    network = OriginalADM(**SHAPE).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # norms and biases too: a swap of any two must be seen
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def relative_error(network, original):
    x = torch.randn((2, 3, 32, 64), generator=torch.Generator().manual_seed(1))
    timesteps = torch.tensor([3.0, 700.0])
    with torch.no_grad():
        expected = original(x, timesteps)
        found = network(x, timesteps, return_dict=False)[0]
    return float((found - expected).norm() / expected.norm())


def test_the_converted_twin_is_the_original_network(original):
    assert relative_error(build(CONFIG, convert(original.state_dict(), CONFIG)), original) < 1e-4


def test_without_the_order_of_the_heads_the_images_would_be_garbage(original):
    state = convert(original.state_dict(), CONFIG)
    names = module_names(CONFIG)
    for key, tensor in state.items():
        module, _, kind = key.rpartition(".")
        if module.rpartition(".")[2] in ("to_q", "to_k", "to_v"):
            part = ["to_q", "to_k", "to_v"].index(module.rpartition(".")[2])
            mixed = original.state_dict()[f"{names[module]}.{kind}"]
            state[key] = mixed.chunk(3)[part].reshape(tensor.shape)
    assert relative_error(build(CONFIG, state), original) > 1e-2


def test_the_full_network_has_the_parameters_of_the_published_one():
    network = empty(adm_config(), "ADM")
    assert sum(parameter.numel() for parameter in network.parameters()) == 552_814_086
    assert len(set(published_names(adm_config()))) == 566


def published_names(config):
    """What a published file calls its tensors: query, key and value are one there."""
    names = module_names(config)
    for key in empty(config, "ADM").state_dict():
        module, _, kind = key.rpartition(".")
        yield f"{names[module]}.{kind}"


def test_every_tensor_of_a_published_file_is_used(original, tmp_path):
    torch.save(original.state_dict(), tmp_path / "twin.pt")
    assert read_adm(tmp_path / "twin.pt", CONFIG).keys() == empty(CONFIG, "ADM").state_dict().keys()
    used = set(module_names(CONFIG).values())
    assert {key.rpartition(".")[0] for key in original.state_dict()} <= used


class Hostile:
    def __reduce__(self):
        return os.system, ("touch /tmp/purifiqa-was-here",)


def without_one(state):
    del state["out.2.bias"]
    return state


def with_one_more(state):
    return {**state, "label_emb.weight": torch.zeros(3)}


def with_a_wrong_shape(state):
    return {**state, "out.2.bias": torch.zeros(3)}


def with_nan(state):
    return {**state, "out.2.bias": torch.full((6,), torch.nan)}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_one, "lacks 1 tensors, such as out.2.bias"),
        (with_one_more, "1 too many, such as label_emb.weight"),
        (with_a_wrong_shape, r"out.2.bias is \(3,\) instead of \(6,\)"),
        (with_nan, "out.2.bias holds NaN"),
        (lambda _: {"out.2.bias": Hostile()}, "more than tensors"),
        (lambda _: [1, 2], "not a dictionary"),
    ],
)
def test_a_file_that_is_not_the_network_is_refused_with_words(original, tmp_path, spoil, words):
    file = tmp_path / "spoiled.pt"
    torch.save(spoil(dict(original.state_dict())), file)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_adm(file, CONFIG)
    assert "spoiled.pt" in str(caught.value)


@pytest.mark.parametrize("length", [0, 100, 5000])
def test_a_file_cut_off_is_refused_with_words(original, tmp_path, length):
    whole, cut = tmp_path / "whole.pt", tmp_path / "cut.pt"
    torch.save(original.state_dict(), whole)
    cut.write_bytes(whole.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"cut\.pt"):
        read_adm(cut, CONFIG)
