import torch
from torch import Tensor

from models.iqa.natural_scenes import luma, normalized, strips
from models.metric import Metric, MetricCard

BLOCK = 16
ACTIVE = 0.1
"""A block whose coefficients have a larger variance is active: only such blocks are judged."""

STRETCH = 6
UNIFORM = 0.1
"""A stretch of so many pixels of a block's edge with a smaller deviation is an artifact, as compression leaves them."""


class Piqe(Metric):
    """PIQE (Venkatanath et al., NCC 2015) as pypiqe, a port of MATLAB's, computes it from 8-bit luma.

    Luma is scaled to its maximum, and incomplete blocks are filled up by mirroring. An image in which no block is
    active, such as one of a single color, scores 100, as MATLAB documents.
    """

    card = MetricCard(
        name="piqe",
        summary="PIQE: distortion of the active blocks; no training",
        higher_is_better=False,
        range=(0, 100),
        range_is_exact=False,
        differentiable=False,  # blocks that cross a threshold decide, and a gradient does not see them
        min_side=BLOCK,
        preprocessing="luma, 8-bit values, scaled to its maximum, mirrored to whole blocks of 16x16, float64",
        version="1",
        license="Apache-2.0",
        source="Venkatanath et al., NCC 2015",
        human_trained=False,
    )

    def score(self, images: Tensor) -> Tensor:
        return torch.stack([_score(plane) for plane in luma(images)]).float()


def _score(plane: Tensor) -> Tensor:
    rows, columns = (_mirrored(length, plane.device) for length in plane.shape)
    scaled = (255 * plane / plane.amax().clamp(min=1)).round()
    whole = scaled[rows][:, columns]
    sums = [_distortion(normalized(whole, top, bottom)) for top, bottom in strips(whole, BLOCK)]
    distortion, active = torch.stack(sums).sum(dim=0)
    score: Tensor = 100 * (distortion + 1) / (active + 1)
    return score


def _mirrored(length: int, device: torch.device) -> Tensor:
    """Return the positions along a side up to whole blocks, mirrored at its end with the edge repeated."""
    positions = torch.arange(length + -length % BLOCK, device=device)
    return torch.minimum(positions, 2 * length - 1 - positions)


def _distortion(coefficients: Tensor) -> Tensor:
    """Return the distortion of the active blocks, summed up, and how many they are: float64, (2,)."""
    blocks = coefficients.unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK).flatten(0, 1)
    variance = blocks.var(dim=(1, 2))
    active = variance > ACTIVE
    of_artifacts = torch.where(active & _has_artifact(blocks), 1 - variance, 0)
    of_noise = torch.where(active & _is_noise(blocks, variance.sqrt()), variance, 0)
    return torch.stack([(of_artifacts + of_noise).sum(), active.sum(dtype=variance.dtype)])


def _has_artifact(blocks: Tensor) -> Tensor:
    """Return whether a stretch of an edge of each block (N, 16, 16) is nearly uniform: bool (N,)."""
    edges = torch.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], dim=1)
    return (edges.unfold(2, STRETCH, 1).std(dim=-1) < UNIFORM).flatten(1).any(dim=1)


def _is_noise(blocks: Tensor, deviation: Tensor) -> Tensor:
    """Return whether the middle of each block (N, 16, 16) deviates as its surround does, like noise: bool (N,).

    The surround has the ninth column, which is of the middle, and lacks the tenth, as in pypiqe and pyiqa.
    """
    middle = blocks[:, :, 7:9].std(dim=(1, 2))
    surround = torch.cat([blocks[:, :, :7], blocks[:, :, 8:9], blocks[:, :, 10:]], dim=2).std(dim=(1, 2))
    ratio = middle / surround  # not a number where both are flat, which is not noise
    return deviation > 2 * (deviation - ratio).abs() / torch.maximum(deviation, ratio)
