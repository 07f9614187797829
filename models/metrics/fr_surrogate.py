"""The learned metric that ships."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from models.iqa import fr_surrogate
from models.metric import Metric, MetricCard

MAX_PIXELS = 2**21
"""Larger images are shrunk to this before scoring: the size, in pixels, of the photographs that it was trained on."""


class FRSurrogateMetric(Metric):
    """A small network that predicts what full-reference metrics would say, without the reference."""

    card = MetricCard(
        name="fr-surrogate",
        summary="Predicts a fusion of full-reference metrics without the reference; never trained on human opinions",
        higher_is_better=True,
        range=(0, 100),
        range_is_exact=False,
        differentiable=True,
        min_side=32,
        preprocessing=f"native; more than {MAX_PIXELS:,} pixels are shrunk to that",
        version="10",
        license="Apache-2.0",
        source="this project, docs/models/fr-surrogate.md; labels after Ye, Kumar, Doermann, CVPR 2014",
        human_trained=False,
    )
    is_batchable: ClassVar[bool] = True

    def score(self, images: Tensor) -> Tensor:
        """Return the scores, float32 (N,); an untouched photograph has about 100."""
        height, width = images.shape[2:]
        if height * width > MAX_PIXELS:
            scale = (MAX_PIXELS / (height * width)) ** 0.5
            size = (max(32, int(height * scale)), max(32, int(width * scale)))
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
        scores: Tensor = fr_surrogate.shipped(images.device)(images)
        return scores
