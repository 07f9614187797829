"""Small metrics that attacks are tested against: a fixed random network, and relatives of it."""

import torch

from models.metric import Metric, MetricCard, UndefinedScoreError


class Standin(Metric):
    """A convolution network of fixed random weights, in double precision so that company changes no score.

    Its score depends on fine structure and on brightness.
    """

    def __init__(self, *, higher_is_better=True, bounds=(0.0, 10.0), differentiable=True):
        self.card = MetricCard(
            name="standin",
            summary="A fixed random network.",
            higher_is_better=higher_is_better,
            range=bounds,
            range_is_exact=False,
            differentiable=differentiable,
            version="1",
            license="Apache-2.0",
        )
        generator = torch.Generator().manual_seed(3)
        self.first = torch.randn(8, 3, 5, 5, generator=generator, dtype=torch.float64) / 5
        self.second = torch.randn(8, generator=generator, dtype=torch.float64)

    def score(self, images):
        features = torch.nn.functional.conv2d(images.double() - 0.4, self.first)
        return 5 + torch.einsum("nchw,c->n", features.sin(), self.second).float() / features[0, 0].numel()


def photograph_like(count, height, width, seed=0):
    """8-bit images of slow shades, fine noise, and corners in pure black and white."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    shades = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    noise = torch.randn(count, 3, height, width, generator=generator)
    images = (0.1 + 0.8 * shades + 0.03 * noise).clamp(0, 1)
    images[..., :4, :4], images[..., -4:, -4:] = 0, 1
    return images.mul(255).round() / 255


def undefined_at(monkeypatch, number):
    """Let the stand-in have no score for the `number`-th image that it is asked about; return a list that grows."""
    real, queries = Standin.score, []

    def score(self, images):
        queries.append(1)
        if len(queries) == number:
            raise UndefinedScoreError("standin is not defined for this image")
        return real(self, images)

    monkeypatch.setattr(Standin, "score", score)
    return queries
