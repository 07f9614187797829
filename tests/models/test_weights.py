import os
import socket
import sys
import threading
import urllib.request
import zipfile

import pytest
import torch
from torch import nn

from models.weights import OfflineError, Weight, careful_loading, huggingface_hub, move_libraries, offline, torch_hub

FOLDERS = ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "PURIFIQA_WEIGHTS_DIR")


@pytest.fixture
def environment(monkeypatch):
    """A function that sets variables, in an environment without any that moves weights."""
    monkeypatch.delitem(sys.modules, "huggingface_hub.constants", raising=False)
    for name in FOLDERS:
        monkeypatch.setenv(name, "")  # so that whatever the code under test sets is undone
        monkeypatch.delenv(name)
    return monkeypatch.setenv


def test_one_variable_moves_every_library(environment, tmp_path):
    environment("PURIFIQA_WEIGHTS_DIR", str(tmp_path))
    before = torch_hub(), huggingface_hub()
    assert before == (tmp_path / "torch/hub", tmp_path / "huggingface/hub")
    move_libraries()
    assert (torch_hub(), huggingface_hub()) == before
    assert torch.hub.get_dir() == str(tmp_path / "torch/hub")


def test_a_librarys_own_variable_wins(environment, tmp_path):
    environment("PURIFIQA_WEIGHTS_DIR", str(tmp_path))
    environment("TORCH_HOME", "/mnt/torch")
    environment("HF_HOME", "/mnt/hf")
    move_libraries()
    assert str(torch_hub()) == "/mnt/torch/hub"
    assert str(huggingface_hub()) == "/mnt/hf/hub"
    environment("HF_HUB_CACHE", "/mnt/cache")
    assert str(huggingface_hub()) == "/mnt/cache"


def test_without_variables_nothing_moves(environment):
    move_libraries()
    assert "TORCH_HOME" not in os.environ
    assert torch_hub().parts[-3:] == (".cache", "torch", "hub")
    assert huggingface_hub().parts[-3:] == (".cache", "huggingface", "hub")


def test_a_model_of_hugging_face_lies_in_the_revision_that_its_main_branch_names(environment, tmp_path):
    environment("HF_HUB_CACHE", str(tmp_path))
    weight = Weight(
        folder="{huggingface}", file="timm/vgg16/model.safetensors", url="https://huggingface.co/timm/vgg16"
    )
    model = tmp_path / "models--timm--vgg16"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("abc123")
    assert weight.path() == model / "snapshots" / "abc123" / "model.safetensors"
    assert weight.name == "timm/vgg16/model.safetensors"
    assert weight.cure() == f"run HF_HUB_CACHE={tmp_path} hf download timm/vgg16"


def test_any_other_file_lies_under_the_last_part_of_its_address(environment, tmp_path):
    environment("TORCH_HOME", str(tmp_path))
    weight = Weight(folder="{hub}/clip", file="5f2a/RN50.pt", url="https://example.org/5f2a/RN50.pt")
    assert weight.name == "RN50.pt"
    assert weight.path() == tmp_path / "hub/clip/RN50.pt"
    assert weight.cure() == f"save https://example.org/5f2a/RN50.pt as {tmp_path}/hub/clip/RN50.pt"


def connect_by_address():
    with socket.socket() as client:
        client.connect(("127.0.0.1", 9))


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        connect_by_address,
        lambda: urllib.request.urlopen("http://example.org/file"),
        lambda: torch.hub.download_url_to_file("http://example.org/file", "/dev/null"),
        lambda: torch.hub.load_state_dict_from_url("http://example.org/no-such-file.pth"),
    ],
)
def test_nothing_reaches_the_network_while_offline(reach):
    with offline() as attempts, pytest.raises(OfflineError, match="nothing is downloaded"):
        reach()
    assert len(attempts) == 1


def test_other_threads_stay_online_and_so_does_this_one_afterwards():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        failures = []

        def connect():
            try:
                socket.create_connection(address, timeout=5).close()
            except OSError as error:
                failures.append(error)

        with offline():
            with offline():
                pass
            thread = threading.Thread(target=connect)
            thread.start()
            thread.join()
            connect()
        connect()
    assert [type(failure) for failure in failures] == [OfflineError]


def test_hugging_face_is_offline_at_once_and_restored():
    constants = pytest.importorskip("huggingface_hub.constants")
    before = constants.HF_HUB_OFFLINE
    with offline():
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is before


class Malice:
    def __reduce__(self):
        return (print, ("code from a weight file ran",))


def test_a_weight_file_cannot_run_code(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    path = tmp_path / "weights.pth"
    torch.save({"params": Malice()}, path)
    assert zipfile.is_zipfile(path)
    with careful_loading(), pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=False)
    assert capsys.readouterr().out == ""
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


def test_a_network_with_parameters_left_at_random_is_refused():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    original = nn.Module.load_state_dict
    complete = network.state_dict()
    with careful_loading() as check:
        network.load_state_dict(without(complete, "1.running_mean"), strict=False)
        check(network)
        network.load_state_dict(without(complete, "0.weight"), strict=False)
        with pytest.raises(RuntimeError, match=r"lacks 1 of the network's parameters, such as 0\.weight"):
            check(network)
        network.load_state_dict(complete)
        check(network)
    assert nn.Module.load_state_dict is original


def test_a_backbone_may_lose_the_head_that_nobody_uses():
    classifier = nn.ModuleDict({"body": nn.Linear(2, 3), "head": nn.Linear(3, 9)})
    with careful_loading() as check:
        classifier.load_state_dict(without(without(classifier.state_dict(), "head.weight"), "head.bias"), strict=False)
        check(classifier["body"])
        with pytest.raises(RuntimeError, match="lacks 2"):
            check(classifier)
