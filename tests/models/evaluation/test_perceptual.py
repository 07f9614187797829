"""Learned distances: which files they need, and that nothing is downloaded or random."""

import socket

import pytest
import torch

from models.attack import AttackUnavailableError
from models.attacks import parse_attack
from models.evaluation import perceptual


@pytest.fixture
def empty_hub(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.mark.parametrize("name", ["zhang-lpips", "zhang-dists"])
def test_without_its_weights_an_attack_names_every_file_and_downloads_nothing(name, empty_hub, monkeypatch):
    pytest.importorskip("piq")
    reached = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: reached.append(args) or [])
    attack = parse_attack(name)
    state = attack.availability()
    for file in attack.weights:
        assert file in state.reason
        assert str(empty_hub / file) in state.cure
    from standin_metrics import Standin

    with pytest.raises(AttackUnavailableError, match=attack.weights[0]):
        attack(torch.rand(1, 3, 16, 16), Standin())
    assert reached == []


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda name: None)
    assert "purifiqa[perceptual]" in perceptual.availability("LPIPS").cure


def test_the_files_are_those_that_the_library_asks_for():
    piq = pytest.importorskip("piq")
    for name, (_, heads) in perceptual.NEEDS.items():
        assert getattr(piq, name)._weights_url == heads.url


def test_with_its_weights_available_means_that_every_file_is_there(empty_hub):
    pytest.importorskip("piq")
    empty_hub.mkdir(parents=True)
    for weight in perceptual.NEEDS["DISTS"]:
        assert not perceptual.availability("DISTS").available
        (empty_hub / weight.name).write_bytes(b"")
    assert perceptual.availability("DISTS").available
    assert not perceptual.availability("LPIPS").available


def test_a_distance_first_used_in_inference_mode_has_a_gradient_later(monkeypatch):
    piq = pytest.importorskip("piq")

    class Learned(torch.nn.Conv2d):
        def __init__(self, reduction):
            super().__init__(3, 1, 3)

        def forward(self, image, other):
            return (super().forward(image) - super().forward(other)).square().mean()

    monkeypatch.setattr(piq, "LPIPS", Learned)
    perceptual._network.cache_clear()
    images, others = torch.rand(2, 2, 3, 32, 32)
    with torch.inference_mode():
        perceptual.distance("LPIPS", images, others)
    images.requires_grad_()
    perceptual.distance("LPIPS", images, others).sum().backward()
    perceptual._network.cache_clear()
    assert images.grad.abs().sum() > 0
