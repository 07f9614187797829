import functools
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

import models.iqa
from models.iqa.natural_scenes import Moments, fit, luma, normalized, on_strip, strips
from models.metric import Metric, MetricCard, UndefinedScoreError
from models.shipped import verified
from models.tensors import lasting

WEIGHTS = Path(models.iqa.__file__).parent / "shipped" / "niqe" / "model.safetensors"
BLOCK = 96


class Niqe(Metric):
    """NIQE (Mittal, Soundararajan, Bovik, IEEE SPL 2013) as its authors' MATLAB release computes it."""

    card = MetricCard(
        name="niqe",
        summary="NIQE: distance from the statistics of pristine photographs",
        higher_is_better=False,
        range=(0, 100),
        range_is_exact=False,
        differentiable=True,
        min_side=BLOCK,
        preprocessing="luma, 8-bit values, cut to whole blocks of 96x96, native and half size, float64",
        weights=("niqe/model.safetensors",),
        version="1, parameters of basicsr 1.4.2",
        license="Apache-2.0",
        source="Mittal, Soundararajan and Bovik, IEEE SPL 2013",
        human_trained=False,
    )

    def score(self, images: Tensor) -> Tensor:
        return torch.stack([self._distance(plane) for plane in luma(images)]).float()

    def _distance(self, plane: Tensor) -> Tensor:
        height, width = (side // BLOCK * BLOCK for side in plane.shape)
        whole = plane[:height, :width]
        scales = (_features(whole, BLOCK), _features(_half(whole), BLOCK // 2))
        features, known = (torch.cat(parts, dim=1) for parts in zip(*scales, strict=True))
        complete = features[known.all(dim=1)]
        if len(complete) == 0:
            raise UndefinedScoreError(
                "niqe is not defined for this image: no block of 96x96 pixels has texture at both sizes"
            )
        mean = features.sum(dim=0) / known.sum(dim=0)
        pristine_mean, pristine_covariance = (part.to(plane.device) for part in _pristine())
        difference = pristine_mean - mean
        covariance = (pristine_covariance + _covariance(complete)) / 2
        distance: Tensor = (difference * torch.linalg.solve(covariance, difference)).sum().sqrt()
        return distance


def _features(plane: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return 18 features of every block of side x side pixels, (blocks, 18), 0 where unknown, and which are known."""

    def of_strip(plane: Tensor, top: int, bottom: int) -> Tensor:
        rows = normalized(plane, top, bottom)
        height, width = (length // side for length in rows.shape)
        blocks = rows.view(height, side, width, side).transpose(1, 2).reshape(-1, side, side)
        neighbors = [blocks * blocks.roll(shift, (1, 2)) for shift in ((0, 1), (1, 0), (1, 1), (1, -1))]
        moments = [torch.stack(Moments.of(values), dim=-1) for values in (blocks, *neighbors)]
        return torch.stack(moments, dim=1)

    moments = torch.cat([on_strip(of_strip, plane, top, bottom) for top, bottom in strips(plane, side)])
    shape = fit(Moments(*moments.unbind(-1)), side * side)
    left, right = shape.left * shape.width, shape.right * shape.width
    both, always = shape.has_left & shape.has_right, torch.ones_like(shape.has_left)
    features = torch.stack([shape.alpha, (right - left) * shape.mean_factor, left, right], dim=-1)
    known = torch.stack([always, both, shape.has_left, shape.has_right], dim=-1)
    single = torch.stack([shape.alpha[:, 0], (left[:, 0] + right[:, 0]) / 2], dim=-1)
    features = torch.cat([single, features[:, 1:].flatten(1)], dim=1)
    known = torch.cat([torch.stack([always[:, 0], both[:, 0]], dim=-1), known[:, 1:].flatten(1)], dim=1)
    return torch.where(known, features, 0), known


def _half(plane: Tensor) -> Tensor:
    """Return a plane of even sides at half its size, as MATLAB's imresize does: antialiased, the edge mirrored."""
    rows, columns = (_mirrored(length, plane.device) for length in plane.shape)
    mirrored = plane[rows][:, columns].double()[None, None]
    half = F.interpolate(mirrored, scale_factor=0.5, mode="bicubic", antialias=True, align_corners=False)
    return half[0, 0, 2:-2, 2:-2]


def _mirrored(length: int, device: torch.device) -> Tensor:
    """Return the positions along a side with four more at each end, mirrored with the edge repeated."""
    inside = torch.arange(length, device=device)
    return torch.cat([inside[:4].flip(0), inside, inside[-4:].flip(0)])


def _covariance(features: Tensor) -> Tensor:
    centered = features - features.mean(dim=0)
    return centered.mT @ centered / max(1, len(features) - 1)


@functools.cache
def _pristine() -> tuple[Tensor, Tensor]:
    with lasting():
        state = load_file(verified(WEIGHTS))
    return state["mean"], state["covariance"]
