"""Linearity, MetaIQA and SPAQ: the official networks, what happens to an image before them, and their answers."""

import itertools

import contracts.test_every_metric as promises
import numpy as np
import pytest
import torch
from official_files import linearity_file, metaiqa_file, small_backbones, spaq_file, trained
from PIL import Image

from models import checkpoints, published
from models.iqa import linearity, metaiqa, spaq, weights
from models.iqa.preprocessing import normalized, resized
from models.metric import MetricUnavailableError, UnsuitableSizeError
from models.metrics import find_metric, metrics

NETWORKS = {"linearity": linearity.Linearity, "metaiqa": metaiqa.MetaIQA, **spaq.MAKERS}
OURS = [name for name in metrics() if name.startswith(("linearity", "metaiqa", "spaq"))]


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A function that adds a metric's weights: random, in the authors' file, with a small backbone."""
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path / "weights"))
    small_backbones(monkeypatch)
    weights._loaded.clear()

    def add(name, seed=0):
        file = tmp_path / f"{name}-{seed}.pt"
        if name == "linearity":
            linearity_file(file, seed=seed)
        elif name == "metaiqa":
            metaiqa_file(file, seed=seed)
        else:
            spaq_file(file, name, seed=seed)
        return published.add(name, file)

    yield add
    weights._loaded.clear()


def photo(height, width, seed=0):
    return promises.pictures(1, height, width, seed)


def as_pil(image):
    return Image.fromarray((image[0].permute(1, 2, 0) * 255).round().byte().numpy())


def as_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def quantized(image):
    return (image * 255).round() / 255


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


# The metrics


@pytest.mark.parametrize("name", ["linearity-native", "metaiqa-native", "spaq-bl"])
def test_it_keeps_the_promises_of_every_metric(official, name):
    official(find_metric(name).card.weights[0])
    metric = find_metric(name)
    promises.test_every_size_it_takes_gives_one_finite_float_per_image(metric)
    promises.test_the_same_image_gives_the_same_score_again_and_in_any_company(metric)
    promises.test_gradients_flow_exactly_if_the_card_says_so(metric)
    if metric.card.range_is_exact:
        promises.test_scores_stay_within_an_exact_range(metric)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linearity", "metaiqa", "metaiqa-aliased", "spaq-bl-native", "spaq-mt-s"])
def test_so_do_the_others(official, name):
    test_it_keeps_the_promises_of_every_metric(official, name)


@pytest.mark.parametrize(
    ("name", "size"), [("metaiqa", (224, 224)), pytest.param("linearity", (664, 498), marks=pytest.mark.slow)]
)
def test_the_official_score_is_that_of_the_image_resized_by_pil(official, name, size):
    official(name)
    image = quantized(photo(300, 320))
    by_pil = as_tensor(as_pil(image).resize(size, Image.Resampling.BILINEAR))
    expected = find_metric(f"{name}-native")(by_pil).item()
    tolerance = 5e-4 * find_metric(name).card.range[1]
    assert find_metric(name)(image).item() == pytest.approx(expected, abs=tolerance)


def test_one_network_serves_every_preset_and_is_read_anew_when_it_is_replaced(official):
    image = photo(224, 224)
    official("spaq-bl", seed=1)
    before = find_metric("spaq")(image)
    assert len(weights._loaded) == 1
    assert torch.equal(find_metric("spaq-native")(image), before)
    assert len(weights._loaded) == 1
    official("spaq-bl", seed=2)
    assert not torch.equal(find_metric("spaq")(image), before)
    assert len(weights._loaded) == 1


def test_a_metric_is_there_the_moment_its_weights_are_and_its_version_tells_which(official):
    metric = find_metric("metaiqa-native")
    assert metric.card.version == "PurifIQA 1, weights not added"
    assert metric.availability().cure == "Run: purifiqa weights pull metaiqa"
    facts = official("metaiqa")
    assert metric.availability().available
    assert metric.card.version == f"PurifIQA 1, metaiqa-0.pt, sha256 {facts.source_sha256[:12]}"
    checkpoints.folder("metaiqa").joinpath("facts.json").write_text("{")
    assert not metric.availability().available
    assert metric.availability().cure == "Run: purifiqa weights add metaiqa FILE --force"
    assert metric.card.version == "PurifIQA 1, weights not added"


def test_an_order_is_taken_the_moment_the_weights_are_there(official):
    from app.errors import ProblemError
    from app.orders import chosen_metrics

    with pytest.raises(ProblemError, match=r"Save MT-S_release\.pt from .* weights add spaq-mt-s MT-S_release"):
        chosen_metrics("spaq-mt-s-native")
    official("spaq-mt-s")
    assert chosen_metrics("spaq-mt-s-native,spaq-mt-s") == ("spaq-mt-s-native", "spaq-mt-s")


def test_weights_that_changed_on_disk_give_no_number(official):
    official("metaiqa")
    file = checkpoints.folder("metaiqa") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(MetricUnavailableError) as caught:
        find_metric("metaiqa")(photo(64, 64))
    assert str(file) in str(caught.value)
    assert str(caught.value).endswith("is not what was added. Run: purifiqa weights add metaiqa FILE --force")
    assert str(caught.value).startswith("metaiqa cannot be used here")


@pytest.mark.parametrize("name", OURS)
def test_a_card_tells_scale_direction_license_and_that_people_were_asked(name):
    card = find_metric(name).card
    assert card.range == ((0, 1) if name.startswith("metaiqa") else (0, 100))
    assert card.higher_is_better
    assert card.differentiable
    assert card.human_trained
    assert "weights: not stated" in card.license
    kind = "native" if name.endswith("-native") else "aliased" if name.endswith("-aliased") else "official"
    assert card.preprocessing.startswith(f"{kind}: ")
    assert find_metric(name).availability().available is False


def test_names_that_are_missing_their_second_half_and_pyiqas_own():
    assert find_metric("spaq").card.name == "spaq-bl"
    assert find_metric("spaq-native").card.name == "spaq-bl-native"
    assert find_metric("metaiqa").card.name == "metaiqa"
    assert find_metric("pyiqa:metaiqa").card.name == "pyiqa:metaiqa"
    assert "spaq" not in metrics()


@pytest.mark.parametrize(
    ("name", "suitable", "unsuitable", "told"),
    [
        ("linearity", (16, 5000), None, ""),
        ("linearity-native", (32, 32), (31, 400), "at least 32 pixels"),
        ("linearity-native", (2048, 2048), (2048, 2049), "at most 4194304 pixels"),
        ("spaq-bl-native", (224, 224), (223, 900), "at least 224 pixels"),
        ("spaq-bl", (16, 1600), (16, 1601), "at most 100 times as long"),
    ],
)
def test_sizes_that_cannot_be_scored_are_refused_with_what_can(name, suitable, unsuitable, told):
    metric = find_metric(name)
    metric.check_size(*suitable)
    if unsuitable:
        with pytest.raises(UnsuitableSizeError, match=f"{name} needs .*{told}"):
            metric.check_size(*unsuitable)


def test_an_answer_tells_the_number_the_scale_the_weights_and_the_license(official):
    from models.defenses import parse_defense
    from models.images import ImageFormat, encode
    from workers.jobs import Kind, Order, execute

    facts = official("spaq-bl")
    order = Order(kind=Kind.SCORE, defense=parse_defense("none"), metrics=("spaq",))
    report, _ = execute(order, encode(photo(64, 80), ImageFormat.PNG))
    (score,) = report.scores
    assert (score.metric, score.range, score.higher_is_better, score.shift) == ("spaq", (0, 100), True, 0)
    assert facts.source_sha256[:12] in score.version
    assert score.preprocessing.startswith("official: ")
    assert "educational" in score.license
