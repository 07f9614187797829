"""Weights in the package: a file that is cut off, missing or another one gives no number, and is named."""

import hashlib
import shutil
import subprocess

import pytest
import torch

from models import shipped
from models.diffusion import shipped_denoiser
from models.diffusion.denoisers import DENOISERS
from models.fcn import weights as fcn
from models.iqa import fr_surrogate
from models.metric import MetricUnavailableError
from models.metrics import brisque, find_metric, niqe
from models.shipped import PACKAGE, SUMS, ShippedWeightsError, verified

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 6154930\n"


def forget():
    for kept in (brisque._weights, niqe._pristine, fr_surrogate.shipped, fcn.shipped, shipped_denoiser._read):
        kept.cache_clear()


@pytest.fixture
def fresh():
    """Nothing was read before, and nothing that the test read stays."""
    forget()
    yield
    forget()


@pytest.fixture
def package(tmp_path, monkeypatch, fresh):
    """A copy of what ships, which a test may damage."""
    for file in shipped._sums():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / file, tmp_path / file)
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path)
    monkeypatch.setattr(brisque, "WEIGHTS", tmp_path / brisque.WEIGHTS.relative_to(PACKAGE))
    monkeypatch.setattr(niqe, "WEIGHTS", tmp_path / niqe.WEIGHTS.relative_to(PACKAGE))
    monkeypatch.setattr(fr_surrogate, "SHIPPED", tmp_path / fr_surrogate.SHIPPED.relative_to(PACKAGE))
    monkeypatch.setattr(fcn, "SHIPPED", tmp_path / fcn.SHIPPED.relative_to(PACKAGE))
    monkeypatch.setattr(shipped_denoiser, "SHIPPED", tmp_path / shipped_denoiser.SHIPPED.relative_to(PACKAGE))
    return tmp_path


def score(name, images=None):
    images = torch.rand(1, 3, 96, 100, generator=torch.Generator().manual_seed(0)) if images is None else images
    return find_metric(name)(images)


def test_every_file_that_ships_is_listed_with_its_sum_and_nothing_else():
    """After new weights: cd models && sha256sum $(cut -c67- shipped.sha256) > sums && mv sums shipped.sha256."""
    there = [*PACKAGE.glob("*/shipped/**/*.safetensors"), *PACKAGE.glob("*/shipped/**/config.json")]
    sums = {file.relative_to(PACKAGE).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in there}
    assert shipped._sums() == sums
    assert len(sums) == len(SUMS.read_text().splitlines())


@pytest.mark.skipif(not (PACKAGE.parent / ".git").exists(), reason="no checkout of git")
def test_a_checkout_that_changes_the_ends_of_lines_leaves_them_alone():
    command = ["git", "check-attr", "text", "--", *shipped._sums()]
    told = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == [f"{file}: text: unset" for file in shipped._sums()]


def flipped(content):
    return content[:-7] + bytes([content[-7] ^ 1]) + content[-6:]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda content: LFS, "is a Git LFS pointer"),
        (lambda content: content[:2000], "is another file: 2,000 bytes"),
        (lambda content: b"", "is another file: 0 bytes"),
        (flipped, "with another sha256"),
    ],
    ids=["lfs", "cut off", "empty", "one bit"],
)
@pytest.mark.parametrize("name", ["brisque", "niqe", "fr-surrogate"])
def test_a_metric_whose_shipped_weights_are_damaged_gives_no_number_and_names_the_file(package, name, damage, told):
    (file,) = package.glob(f"iqa/shipped/{name}/model.safetensors")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(MetricUnavailableError, match=told) as caught:
        score(name)
    assert str(file) in str(caught.value)
    assert str(caught.value).startswith(f"{name} cannot be used here")
    assert caught.value.availability.cure == "Install PurifIQA again"


def test_so_it_is_with_the_weights_of_defenses_and_with_a_file_that_is_gone(package):
    weights = package / "diffusion/shipped/ffdnet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(flipped(weights.read_bytes()))
    with pytest.raises(ShippedWeightsError, match=str(weights)):
        DENOISERS["ffdnet"].mean(torch.rand(1, 3, 16, 16), torch.tensor([0.1]))
    (package / "fcn/shipped/fcn/model.safetensors").unlink()
    with pytest.raises(ShippedWeightsError, match="cannot be read: No such file"):
        fcn.shipped("fcn", torch.device("cpu"))


def test_weights_that_nobody_listed_are_refused(package):
    with pytest.raises(ShippedWeightsError, match=r"is not listed in shipped\.sha256"):
        verified(package / "iqa/shipped/new/model.safetensors")


@pytest.mark.parametrize("name", ["brisque", "niqe", "fr-surrogate"])
def test_a_metric_that_first_scored_without_gradients_still_has_them(fresh, name):
    images = torch.rand(1, 3, 96, 100, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        score(name, images)
    wanted = images.clone().requires_grad_()
    score(name, wanted).sum().backward()
    assert wanted.grad.abs().max() > 0
