"""What a call of a metric of one's own checks and says."""

import pytest
import torch

from models.attacks import parse_attack
from models.metric import Metric, MetricCard, MetricError

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Given(Metric):
    """Scores by the function that it is given."""

    card = MetricCard(
        name="own",
        summary="A metric of one's own.",
        higher_is_better=True,
        range=(0, 1),
        range_is_exact=True,
        differentiable=True,
        version="1",
        license="Apache-2.0",
    )

    def __init__(self, score):
        self._score = score

    def score(self, images):
        return self._score(images)


def mean(images):
    return images.mean(dim=(1, 2, 3))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_score_in_another_precision_is_returned_as_float32_with_its_gradient(kind):
    images = IMAGES.clone().requires_grad_()
    scores = Given(lambda images: mean(images.to(kind)))(images)
    assert scores.dtype == torch.float32
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert (gradient > 0).all()


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (lambda images: mean(images)[:, None], r"shape \(2, 1\) for 2 images: it needs a score for each, shape \(2,\)"),
        (lambda images: images.mean(), r"shape \(\) for 2 images: it needs a score for each, shape \(2,\)"),
        (lambda images: images.mean().item(), r"returned a float: it needs a tensor of shape \(2,\)"),
        (lambda images: mean(images).numpy(), r"returned a ndarray: it needs a tensor of shape \(2,\)"),
        (lambda images: mean(images) / 0, "not finite"),
    ],
    ids=["column", "one-for-all", "number", "numpy", "infinite"],
)
def test_what_is_no_finite_score_per_image_is_refused_with_what_is_needed(score, told):
    with pytest.raises(MetricError, match=told):
        Given(score)(IMAGES)


def test_a_promised_gradient_that_is_not_there_is_told_with_its_cure():
    metric = Given(lambda images: mean(images.detach()))
    assert metric(IMAGES).shape == (2,)
    with pytest.raises(MetricError, match=r"^own promises gradients, and its score has none: .* differentiable=False"):
        parse_attack("ifgsm")(IMAGES, metric)
