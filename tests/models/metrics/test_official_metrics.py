"""Linearity, MetaIQA and SPAQ as metrics: promises, presets, weights that come and go, and their answers."""

import contracts.test_every_metric as promises
import pytest
import torch
from eight_bit_images import as_pil, as_tensor, photo, quantized
from official_files import linearity_file, metaiqa_file, small_backbones, spaq_file
from PIL import Image

from models import checkpoints, published
from models.iqa import weights
from models.metric import MetricUnavailableError, UnsuitableSizeError
from models.metrics import find_metric, metrics

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
    assert metric.availability().cure == "Run: purifiqa weights pull metaiqa --force"
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
    assert str(caught.value).endswith("has changed since it was added. Run: purifiqa weights add metaiqa FILE --force")
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
    from workers.jobs import execute
    from workers.orders import DefenseOrder, Kind

    facts = official("spaq-bl")
    order = DefenseOrder(kind=Kind.SCORE, defense=parse_defense("none"), metrics=("spaq",))
    report, _ = execute(order, encode(photo(64, 80), ImageFormat.PNG))
    (score,) = report.scores
    assert (score.metric, score.range, score.higher_is_better, score.shift) == ("spaq", (0, 100), True, 0)
    assert facts.source_sha256[:12] in score.version
    assert score.preprocessing.startswith("official: ")
    assert "educational" in score.license
