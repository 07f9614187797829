"""The networks of Linearity, MetaIQA and SPAQ, and what happens to an image before them."""

import itertools

import numpy as np
import pytest
import torch
from eight_bit_images import as_pil, as_tensor, photo, quantized
from official_files import trained
from PIL import Image

from models.iqa import linearity, metaiqa, spaq
from models.iqa.preprocessing import normalized, resized

NETWORKS = {"linearity": linearity.Linearity, "metaiqa": metaiqa.MetaIQA, **spaq.MAKERS}


# The networks


@pytest.mark.parametrize(
    ("name", "entries", "elements"),
    [
        ("linearity", 672, 90_661_809),
        ("metaiqa", 140, 13_255_617),
        ("spaq-bl", 320, None),
        ("spaq-mt-e", 321, None),
        ("spaq-mt-a", 320, None),
        ("spaq-mt-s", 640, None),
    ],
)
def test_a_networks_state_has_as_many_entries_and_numbers_as_the_official_one(name, entries, elements):
    with torch.device("meta"):
        state = NETWORKS[name]().state_dict()
    assert len(state) == entries
    assert elements is None or sum(tensor.numel() for tensor in state.values()) == elements


@pytest.mark.parametrize(
    ("name", "parameters", "megabytes"),
    [
        ("linearity", 90.453e6, 362.65),
        ("metaiqa", 13.243e6, 53.02),
        ("spaq-bl", 23.510e6, 94.25),
        ("spaq-mt-a", 23.520e6, 94.29),
        ("spaq-mt-s", 47.037e6, 188.57),
    ],
)
def test_a_networks_size_is_the_official_one(name, parameters, megabytes):
    with torch.device("meta"):
        network = NETWORKS[name]()
    assert sum(tensor.numel() for tensor in network.parameters()) == pytest.approx(parameters, rel=1e-4)
    state = network.state_dict().values()
    assert sum(tensor.nbytes for tensor in state) / 1e6 == pytest.approx(megabytes, abs=0.01)


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("linearity", "features.0.weight", (64, 3, 7, 7)),
        ("linearity", "features.1.running_var", (64,)),
        ("linearity", "features.4.0.conv1.weight", (256, 64, 1, 1)),
        ("linearity", "features.6.22.bn3.bias", (1024,)),
        ("linearity", "dr6.0.weight", (1024, 1024)),
        ("linearity", "dr7.0.weight", (1024, 2048)),
        ("linearity", "dr6.3.running_mean", (256,)),
        ("linearity", "dr7.4.weight", (64, 256)),
        ("linearity", "dr7.5.bias", (64,)),
        ("linearity", "regr6.weight", (1, 64)),
        ("linearity", "regression.weight", (1, 128)),
        ("metaiqa", "resnet_layer.fc.weight", (1000, 512)),
        ("metaiqa", "net.fc1.weight", (1024, 1000)),
        ("metaiqa", "net.bn1.running_mean", (1024,)),
        ("metaiqa", "net.relu1.weight", (1,)),
        ("metaiqa", "net.fc2.weight", (512, 1024)),
        ("metaiqa", "net.relu2.weight", (1,)),
        ("metaiqa", "net.fc3.weight", (1, 512)),
        ("spaq-bl", "backbone.fc.weight", (1, 2048)),
        ("spaq-mt-e", "exifCNN.weight", (1, 8)),
        ("spaq-mt-a", "backbone.fc.bias", (6,)),
        ("spaq-mt-s", "backbone_semantic.fc.weight", (9, 2048)),
        ("spaq-mt-s", "backbone_quality.fc.weight", (1, 2048)),
    ],
)
def test_official_names_and_shapes(name, key, shape):
    with torch.device("meta"):
        assert tuple(NETWORKS[name]().state_dict()[key].shape) == shape


def test_linearity_sees_maps_of_the_official_size():
    with torch.device("meta"):
        features = linearity.Linearity().eval().features
        third = features[:7](torch.empty(1, 3, 498, 664))
        assert third.shape == (1, 1024, 32, 42)
        assert features[7](third).shape == (1, 2048, 16, 21)


# Preprocessing


@pytest.mark.parametrize("size", [(500, 500), (700, 901), (200, 150), (498, 664)])
def test_the_tensor_resize_is_pils_up_to_rounding_and_differentiable(size):
    image = quantized(photo(*size))
    expected = as_tensor(as_pil(image).resize((664, 498), Image.Resampling.BILINEAR))
    wanted = image.clone().requires_grad_()
    ours = resized(wanted, 498, 664)
    assert (ours - expected).abs().max() <= 1.01 / 255
    assert (ours - expected).abs().mean() < 0.4 / 255
    (gradient,) = torch.autograd.grad(ours.sum(), wanted)
    assert gradient.sum().item() == pytest.approx(3 * 498 * 664, rel=1e-4)


def test_metaiqas_resize_is_scikit_images_with_and_without_antialiasing():
    transform = pytest.importorskip("skimage.transform")
    image = photo(448, 700)
    array = image[0].permute(1, 2, 0).numpy()
    for antialias, tolerance in ((True, 0.004), (False, 1e-5)):
        theirs = transform.resize(array, (224, 224), order=1, anti_aliasing=antialias)
        ours = resized(image, 224, 224, antialias=antialias)[0].permute(1, 2, 0).numpy()
        assert np.abs(ours - theirs).mean() < tolerance


def test_the_presets_of_metaiqa_differ_in_what_the_network_sees():
    seen = []

    def network(images):
        seen.append(images)
        return images.mean((1, 2, 3))

    image = photo(300, 500)
    for preset in (metaiqa.official, metaiqa.aliased, metaiqa.native):
        preset(network, image)
    assert [tuple(one.shape[2:]) for one in seen] == [(224, 224), (224, 224), (300, 500)]
    assert torch.equal(seen[0], normalized(resized(image, 224, 224)))
    assert not torch.allclose(seen[0], seen[1])
    assert torch.equal(seen[2], normalized(image))


@pytest.mark.parametrize(
    ("size", "count"),
    [((512, 910), 32), ((512, 682), 24), ((500, 500), 16), ((498, 664), 20), ((224, 224), 1), ((224, 225), 2)],
)
def test_spaqs_patches_are_as_many_as_the_official_ones(size, count):
    assert len(spaq._corners(*size)) == count


def test_spaqs_last_row_and_column_are_flush_with_the_border():
    corners = spaq._corners(512, 682)
    assert corners[0] == (0, 0)
    assert corners[1] == (0, 112)
    assert corners[-1] == (288, 458)


@pytest.mark.parametrize("size", [(500, 20_000), (20_000, 500), (3000, 4000), (224, 100_000), (5000, 5000)])
def test_spaqs_patches_are_capped_and_still_spread_over_the_image(size):
    corners = spaq._corners(*size)
    assert 128 < len(set(corners)) == len(corners) <= spaq.MAX_PATCHES
    assert (0, 0) in corners
    assert (size[0] - 224, size[1] - 224) in corners
    longer = 0 if size[0] > size[1] else 1
    places = sorted({corner[longer] for corner in corners})
    steps = {after - before for before, after in itertools.pairwise(places)}
    assert max(steps) - min(steps) <= 2 * 112


class Seeing(torch.nn.Module):
    """Stands for SPAQ's network: remembers how many patches it got, and scores them by their mean."""

    def __init__(self):
        super().__init__()
        self.counts = []

    def forward(self, patches):
        self.counts.append(len(patches))
        assert patches.shape[1:] == (3, 224, 224)
        return patches.mean((1, 2, 3))


@pytest.mark.parametrize(
    ("size", "patches"),
    [
        ((1080, 1920), 32),  # 512x910
        ((512, 700), 24),
        ((511, 700), 4 * 6),  # a side below 512: as it is
        ((300, 900), 2 * 8),
        ((224, 224), 1),
        ((100, 100), 1),  # a side below 224: enlarged
        ((16, 160), 1 * 19),
        ((160, 16), 19 * 1),
    ],
)
def test_spaq_has_an_answer_for_every_size_and_does_not_normalize(size, patches):
    network = Seeing()
    score = spaq.official(network, torch.full((1, 3, *size), 0.25))
    assert score.tolist() == pytest.approx([0.25], abs=1e-6)
    assert sum(network.counts) == patches
    assert max(network.counts) <= spaq.CHUNK


def test_spaqs_resize_is_torchvisions():
    transforms = pytest.importorskip("torchvision.transforms")
    image = quantized(photo(1080, 1921))
    seen = []
    spaq.official(lambda patches: seen.append(patches) or patches.mean((1, 2, 3)), image)
    official = as_tensor(transforms.Resize(512)(as_pil(image)))
    assert official.shape[2:] == (512, 910)
    theirs = [official[0, :, y : y + 224, x : x + 224] for y, x in spaq._corners(512, 910)]
    assert (torch.cat(seen) - torch.stack(theirs)).abs().max() <= 1.01 / 255


def test_spaqs_gradient_is_the_same_in_chunks_as_at_once(monkeypatch):
    network = trained(lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 2, 9, 9), torch.nn.Tanh(), Mean()))
    image = photo(400, 500).requires_grad_()
    (chunked,) = torch.autograd.grad(spaq.native(network, image).sum(), image)
    monkeypatch.setattr(spaq, "CHUNK", 1000)
    (at_once,) = torch.autograd.grad(spaq.native(network, image).sum(), image)
    torch.testing.assert_close(chunked, at_once)
    assert at_once.abs().max() > 0


class Mean(torch.nn.Module):
    def forward(self, x):
        return x.mean((1, 2, 3))


def test_camera_settings_are_added_to_mt_es_score_and_zeros_add_nothing(monkeypatch):
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1))
    monkeypatch.setattr(spaq, "backbone", lambda outputs: flat)
    network = spaq.WithExif()
    patches, exif = torch.rand(2, 3, 2, 2), torch.rand(2, 8)
    assert torch.equal(network(patches), network(patches, torch.zeros(2, 8)))
    torch.testing.assert_close(network(patches, exif) - network(patches), network.exifCNN(exif)[:, 0])
