"""What every metric promises. A new file in models/metrics/ is held to all of it without a line here."""

import math
import socket

import pytest
import torch

from models.metric import Metric, MetricCard, MetricUnavailableError
from models.metrics import find_metric, metrics
from models.tensors import MIN_SIDE
from workers.settings import WorkerSettings

METRICS = metrics()
AVAILABLE = {name: metric for name, metric in METRICS.items() if metric.availability().available}
UNAVAILABLE = {name: metric for name, metric in METRICS.items() if name not in AVAILABLE}
EVERY_METRIC = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
EVERY_AVAILABLE_METRIC = pytest.mark.parametrize("metric", AVAILABLE.values(), ids=AVAILABLE)
EVERY_UNAVAILABLE_METRIC = pytest.mark.parametrize("metric", UNAVAILABLE.values(), ids=UNAVAILABLE)


def suitable(card: MetricCard, side: int) -> int:
    """The smallest side that the metric takes and that is not under `side`."""
    return math.ceil(max(side, card.min_side) / card.side_multiple) * card.side_multiple


def sizes(card):
    """The smallest size it takes, and odd and uneven ones."""
    smallest = suitable(card, 1)
    return [
        (smallest, smallest),
        (smallest, suitable(card, smallest + 1)),
        (suitable(card, smallest + 17), smallest),
        (suitable(card, 51), suitable(card, 77)),
    ]


def pictures(count, height, width, seed=0):
    """Smooth shades with fine noise: what a metric expects of a photograph."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    shades = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    noise = torch.randn(count, 3, height, width, generator=generator)
    return (0.1 + 0.8 * shades + 0.03 * noise).clamp(0, 1)


def tolerance(card, scores):
    """What rounding may change: a hundred-thousandth of the range, or of the score where there is no range."""
    low, high = card.range
    return 1e-5 * (scores.abs().max().item() + 1 if low is None or high is None else high - low)


@EVERY_METRIC
def test_the_card_is_complete(metric):
    card = metric.card
    assert isinstance(card, MetricCard)
    for text in (card.name, card.summary, card.preprocessing, card.version, card.license, card.source):
        assert text == text.strip() != ""
        assert "\n" not in text
    low, high = card.range
    assert low is None or math.isfinite(low)
    assert high is None or math.isfinite(high)
    assert low is None or high is None or low < high
    assert card.min_side >= MIN_SIDE
    assert card.min_side % card.side_multiple == 0
    assert isinstance(card.higher_is_better, bool)
    assert card.human_trained is False or card.weights or not metric.availability().available


@EVERY_METRIC
def test_the_card_survives_json(metric):
    assert MetricCard.model_validate_json(metric.card.model_dump_json()) == metric.card


def test_names_are_unique_and_reach_their_metric_bare_or_qualified():
    qualified = [metric.card.name for metric in METRICS.values()]
    assert len(set(qualified)) == len(qualified)
    for name, metric in METRICS.items():
        assert find_metric(name) is metric
        assert find_metric(metric.card.name) is metric


def test_the_services_default_metrics_need_no_extra_no_weights_and_no_permission():
    for name in WorkerSettings().default_metrics.split(","):
        metric = find_metric(name)
        assert metric.availability().available
        assert not metric.card.name.startswith("pyiqa:")
        assert metric.card.license == "Apache-2.0"


@EVERY_METRIC
def test_one_that_cannot_be_used_says_why_and_what_to_do(metric):
    state = metric.availability()
    if state.available:
        assert (state.reason, state.cure) == (None, None)
    else:
        assert state.reason
        assert state.cure
        assert not state.reason.endswith(".")


@EVERY_UNAVAILABLE_METRIC
def test_calling_one_that_cannot_be_used_tells_the_cure_and_downloads_nothing(metric, monkeypatch):
    reached = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: reached.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: reached.append(args) or [])
    side = suitable(metric.card, 64)
    with pytest.raises(MetricUnavailableError) as caught:
        metric(torch.rand(1, 3, side, side))
    assert metric.availability().cure in str(caught.value)
    assert metric.card.name in str(caught.value)
    assert reached == []


@EVERY_AVAILABLE_METRIC
def test_every_size_it_takes_gives_one_finite_float_per_image(metric):
    for height, width in sizes(metric.card):
        scores = metric(pictures(2, height, width))
        assert scores.shape == (2,)
        assert scores.dtype == torch.float32
        assert not scores.requires_grad


@EVERY_AVAILABLE_METRIC
def test_a_size_under_the_smallest_is_refused(metric):
    smallest = suitable(metric.card, 1)
    for height, width in [(smallest - 1, smallest + 64), (smallest + 64, smallest - 1)]:
        with pytest.raises(ValueError, match="at least"):
            metric(torch.rand(1, 3, height, width))


@EVERY_AVAILABLE_METRIC
def test_the_same_image_gives_the_same_score_again_and_in_any_company(metric):
    side = suitable(metric.card, 71)
    images = pictures(3, side, suitable(metric.card, 83))
    before = images.clone()
    scores = metric(images)
    assert torch.equal(images, before), "scoring changed the image"
    assert torch.equal(metric(images), scores)
    alone = torch.cat([metric(image[None]) for image in images])
    reversed_company = metric(images.flip(0)).flip(0)
    assert torch.allclose(alone, scores, rtol=0, atol=tolerance(metric.card, scores))
    assert torch.allclose(reversed_company, scores, rtol=0, atol=tolerance(metric.card, scores))


@EVERY_AVAILABLE_METRIC
def test_gradients_flow_exactly_if_the_card_says_so(metric):
    side = suitable(metric.card, 64)
    images = pictures(2, side, side).requires_grad_()
    scores = metric(images)
    assert scores.requires_grad is metric.card.differentiable
    if metric.card.differentiable:
        gradients = [torch.autograd.grad(score, images, retain_graph=True)[0] for score in scores]
        for index, gradient in enumerate(gradients):
            assert torch.isfinite(gradient).all()
            assert gradient[index].abs().max() > 0
            assert gradient[1 - index].abs().max() == 0, "an image's score depends on another image"
    with torch.no_grad():
        assert torch.allclose(metric(images), scores.detach(), rtol=0, atol=tolerance(metric.card, scores.detach()))


@EVERY_AVAILABLE_METRIC
def test_scores_stay_within_an_exact_range(metric):
    if not metric.card.range_is_exact:
        pytest.skip("its range is customary")
    side = suitable(metric.card, 64)
    noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    scores = metric(torch.cat([pictures(2, side, side), noise, noise.round(), torch.full_like(noise, 0.5)]))
    low, high = metric.card.range
    assert low is None or scores.min() >= low - 1e-5
    assert high is None or scores.max() <= high + 1e-5


@EVERY_AVAILABLE_METRIC
@pytest.mark.parametrize(
    "images",
    [
        torch.rand(3, 64, 64),
        torch.rand(1, 1, 64, 64),
        torch.rand(0, 3, 64, 64),
        torch.rand(1, 3, 64, 64).double(),
        torch.rand(1, 3, 64, 64).half(),
        torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8),
        torch.full((1, 3, 64, 64), 1.01),
        torch.full((1, 3, 64, 64), -0.01),
        torch.full((1, 3, 64, 64), math.nan),
    ],
    ids=["no batch", "gray", "empty", "double", "half", "bytes", "above 1", "below 0", "nan"],
)
def test_images_out_of_contract_are_refused(metric, images):
    with pytest.raises(ValueError, match="images must"):
        metric(images)


def test_a_metric_is_a_metric():
    assert all(isinstance(metric, Metric) for metric in METRICS.values())
