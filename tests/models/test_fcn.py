"""The FCN filters: the paper's network and ours, and the published checkpoint."""

import os

import pytest
import torch
from known_photographs import pixels, tensor
from torch import nn

from models import checkpoints, published
from models.attacks.adv_cf import apply_curves
from models.checkpoints import CheckpointError
from models.defenses import parse_defense
from models.fcn import curves, network, weights
from models.fcn.curves import CurveNet, histograms
from models.fcn.network import FCNet

CPU = torch.device("cpu")
KEYS = [f"{layer}.{part}" for layer in ("conv1", "conv2", "conv3") for part in ("weight", "bias")]
EVERY_NETWORK = pytest.mark.parametrize("kind", [FCNet, CurveNet])


@pytest.fixture(autouse=True)
def own_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path / "weights"))


class AsPublished(nn.Module):
    """The layers of the checkpoint's network, those without parameters too, put together from torch's own parts."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 64, 3, 1, 1), nn.Conv2d(64, 16, 3, 1, 1)
        self.conv3 = nn.Conv2d(16, 3, 3, 1, 1)
        self.norm, self.norm2 = nn.InstanceNorm2d(16), nn.InstanceNorm2d(16)
        self.leaky_relu, self.act, self.dropout, self.tanh = nn.LeakyReLU(0.2), nn.ReLU(), nn.Dropout(0.5), nn.Tanh()

    def forward(self, images):
        hidden = self.norm2(self.conv2(self.leaky_relu(self.conv1(images))))
        return self.tanh(self.conv3(self.leaky_relu(hidden)))


def as_published(seed=0):
    torch.manual_seed(seed)
    return AsPublished().eval()


def saved(content, file):
    torch.save(content, file)
    return file


def randomized(kind, seed=0):
    torch.manual_seed(seed)
    filter_ = kind().requires_grad_(requires_grad=False)
    for parameter in filter_.parameters():
        nn.init.normal_(parameter, std=0.2)
    return filter_


def test_the_network_has_the_papers_size_and_the_names_of_its_checkpoint():
    assert sum(parameter.numel() for parameter in FCNet().parameters()) == 11_459
    assert list(FCNet().state_dict()) == KEYS == list(as_published().state_dict())


def test_our_network_is_smaller_than_the_papers():
    assert sum(parameter.numel() for parameter in CurveNet().parameters()) == 10_227 < 11_459


@torch.no_grad()
def test_the_network_computes_what_the_papers_layers_do():
    theirs, ours, images = as_published(), FCNet(), torch.rand(3, 3, 37, 50)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=2e-6)


@EVERY_NETWORK
def test_strips_give_what_the_whole_image_gives(kind, monkeypatch):
    filter_, images = randomized(kind), torch.rand(2, 3, 61, 40)
    whole = filter_(images)
    for rows in (1, 2, 13, 60):
        monkeypatch.setattr(network, "PIXELS_AT_ONCE", rows * 2 * 40)
        monkeypatch.setattr(curves, "PIXELS_AT_ONCE", rows * 2 * 40)
        torch.testing.assert_close(filter_(images), whole, rtol=0, atol=2e-5)


def test_an_untrained_curve_network_changes_nothing():
    images = torch.rand(1, 3, 20, 30)
    torch.testing.assert_close(CurveNet()(images), images, rtol=0, atol=1e-6)


def test_curves_grow_from_black_to_white_whatever_the_weights():
    levels = randomized(CurveNet).curves(histograms(tensor(pixels("coffee", 64))), 64 * 64)
    assert levels.shape == (1, 3, 256)
    assert (levels.diff(dim=2) >= 0).all()
    torch.testing.assert_close(levels[..., [0, -1]], torch.tensor([0.0, 1.0]).expand(1, 3, 2))


def test_a_histogram_of_whole_levels_is_numpys_and_of_others_lies_between():
    photo = pixels("coffee", 64)
    counted = histograms(tensor(photo))[0] * photo[..., 0].size
    for channel in range(3):
        expected = torch.bincount(torch.from_numpy(photo[..., channel]).flatten().long(), minlength=256)
        torch.testing.assert_close(counted[channel], expected.float(), rtol=0, atol=0.02)
    between = histograms(torch.full((1, 3, 16, 16), 100.25 / 255))
    torch.testing.assert_close(between[0, 0, 100:102], torch.tensor([0.75, 0.25]), rtol=0, atol=1e-4)


def test_the_shipped_network_undoes_much_of_curves_that_bend_far_and_leaves_photographs_alone():
    slopes = (1 + torch.randn(1, 3, 64, generator=torch.Generator().manual_seed(1))).clamp(min=0)
    defense = parse_defense("fcn-curves")
    for name in ("chelsea", "coffee", "astronaut", "rocket"):
        photo = tensor(pixels(name))
        bent = apply_curves(slopes, photo.mul(255).round().long().flatten(2)).view_as(photo).mul(255).round() / 255
        assert psnr(defense(bent), photo) > psnr(bent, photo) + 4
        assert (defense(photo) - photo).abs().mean() < 0.006


def psnr(images, others):
    return float(-10 * (images - others).square().mean().log10())


def test_a_published_checkpoint_is_added_and_filters(tmp_path):
    theirs, images = as_published(), torch.rand(2, 3, 33, 40)
    file = saved({"model": theirs.state_dict(), "epoch": 143}, tmp_path / "fcn_mse.pth")
    defense = parse_defense('{"name": "fcn", "network": "published"}')
    assert defense.availability().cure.endswith("then run: purifiqa weights add fcn-published fcn_mse.pth")
    facts = published.add("fcn-published", file)
    assert (facts.kind, facts.source) == ("filter", "fcn_mse.pth")
    assert defense.availability().available
    with torch.no_grad():
        torch.testing.assert_close(defense(images), theirs(images).clamp(0, 1), rtol=0, atol=2e-6)


def test_a_checkpoint_that_is_replaced_is_read_again(tmp_path):
    images, outputs = torch.rand(1, 3, 16, 16), []
    for seed in (0, 1):
        weights.add(saved({"model": as_published(seed).state_dict(), "epoch": 1}, tmp_path / "fcn_mse.pth"))
        outputs.append(weights.published(CPU)(images))
    assert not torch.equal(*outputs)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch purifiqa-was-here",)


def changed(**tensors):
    return {
        "model": {**as_published().state_dict(), **{name.replace("_", "."): value for name, value in tensors.items()}}
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"model": Hostile()}, "refused"),
        ([1, 2], "holds a list"),
        ({}, 'no "model"'),
        (as_published().state_dict(), 'no "model"'),
        ({"model": torch.ones(3)}, 'no "model"'),
        ({"model": {}}, "lacks 6 tensors"),
        ({"model": nn.Linear(3, 3).state_dict()}, "another architecture"),
        (changed(norm2_weight=torch.ones(16)), "1 too many, such as norm2.weight"),
        (changed(conv1_weight=torch.ones(64, 1, 3, 3)), "conv1.weight is"),
        (changed(conv3_bias=torch.full((3,), torch.nan)), "damaged"),
    ],
    ids=["code", "list", "empty", "bare", "tensor", "no-weights", "linear", "affine", "gray", "nan"],
)
def test_any_other_file_is_refused_naming_it_and_where_the_right_one_is(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    file = saved(content, tmp_path / "wrong.pth")
    with pytest.raises(CheckpointError, match=reason) as refused:
        published.add("fcn-published", file)
    assert str(file) in str(refused.value)
    assert weights.CHECKPOINT.url in str(refused.value)
    assert not (tmp_path / "purifiqa-was-here").exists()
    assert checkpoints.names() == []


def test_missing_and_torn_files_are_refused(tmp_path):
    file = saved({"model": as_published().state_dict()}, tmp_path / "fcn_mse.pth")
    (tmp_path / "torn.pth").write_bytes(file.read_bytes()[:-2000])
    for name in ("torn.pth", "missing.pth"):
        with pytest.raises(CheckpointError, match=name) as refused:
            weights.add(tmp_path / name)
        assert weights.CHECKPOINT.url in str(refused.value)


@pytest.mark.parametrize("name", weights.NETWORKS)
def test_the_shipped_weights_are_small(name):
    assert sum(file.stat().st_size for file in (weights.SHIPPED / name).iterdir()) < 100_000


@pytest.mark.parametrize("name", weights.NETWORKS)
def test_a_network_comes_back_from_its_file(name, tmp_path, monkeypatch):
    filter_ = randomized(weights.NETWORKS[name])
    weights.save(filter_, tmp_path / name)
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    monkeypatch.setattr(weights, "verified", lambda file: file)  # only what ships has a sum
    weights.shipped.cache_clear()
    images = torch.rand(1, 3, 16, 20)
    try:
        assert torch.equal(weights.shipped(name, CPU)(images), filter_(images))
    finally:
        weights.shipped.cache_clear()


# Measured on 2026-11-24, torch on the CPU: means of each channel and four pixels in a row of the coffee.
GOLDEN = {
    "fcn": ([0.58743, 0.45811, 0.29875], [0.90067, 0.89822, 0.89824, 0.89982]),
    "fcn-curves": ([0.64118, 0.38475, 0.21569], [0.97869, 0.97483, 0.97483, 0.97869]),
}


@pytest.mark.parametrize("name", weights.NETWORKS)
def test_the_shipped_weights_filter_a_photograph_as_measured(name):
    filtered = parse_defense(name)(tensor(pixels("coffee", 128)))
    means, row = GOLDEN[name]
    assert filtered.mean((0, 2, 3)).tolist() == pytest.approx(means, abs=1e-4)
    assert filtered[0, 0, 64, 60:64].tolist() == pytest.approx(row, abs=1e-4)
