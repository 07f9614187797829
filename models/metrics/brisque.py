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

WEIGHTS = Path(models.iqa.__file__).parent / "shipped" / "brisque" / "model.safetensors"


class Brisque(Metric):
    """BRISQUE (Mittal, Moorthy, Bovik, IEEE TIP 2012) as in its authors' C++ release, whose regression this is.

    That release differs from the one in MATLAB: half size is bicubic without antialiasing, the edge is repeated.
    """

    card = MetricCard(
        name="brisque",
        summary="BRISQUE: support vector regression on scene statistics",
        higher_is_better=False,
        range=(0, 100),
        range_is_exact=False,
        differentiable=True,
        min_side=16,
        preprocessing="luma, 8-bit values, native and half size, float64",
        weights=("brisque/model.safetensors",),
        version="1, parameters of brisque 0.2.0",
        license="Apache-2.0",
        source="Mittal, Moorthy and Bovik, IEEE TIP 2012",
        human_trained=True,
    )

    def score(self, images: Tensor) -> Tensor:
        return torch.stack([self._regression(plane) for plane in luma(images)]).float()

    def _regression(self, plane: Tensor) -> Tensor:
        weights = {name: value.to(plane.device) for name, value in _weights().items()}
        features = torch.cat([_features(plane), _features(_half(plane))])
        lowest, highest = weights["lowest"], weights["highest"]
        scaled = 2 * (features - lowest) / (highest - lowest) - 1
        distances = (scaled - weights["support"]).square().sum(dim=1)
        return weights["coefficients"] @ torch.exp(-weights["gamma"] * distances) - weights["rho"]


def _features(plane: Tensor) -> Tensor:
    """Return the 18 features of a plane (H, W), values 0 to 255: float64, (18,)."""

    def of_strip(plane: Tensor, top: int, bottom: int) -> Tensor:
        rows = normalized(plane, max(0, top - 1), bottom)
        rows = rows if top else F.pad(rows, (0, 0, 1, 0))  # nothing is above the first row
        above, here = rows[:-1], rows[1:]
        neighbors = (
            here[:, 1:] * here[:, :-1], here * above, here[:, 1:] * above[:, :-1], here[:, :-1] * above[:, 1:],
        )  # fmt: skip
        return torch.stack([torch.stack(Moments.of(values)) for values in (here, *neighbors)], dim=1)

    moments = torch.stack([on_strip(of_strip, plane, top, bottom) for top, bottom in strips(plane)]).sum(dim=0)
    shape = fit(Moments(*moments.unbind(0)), plane.numel())
    if not bool((shape.has_left & shape.has_right).all()):
        raise UndefinedScoreError(
            "brisque is not defined for this image: it has no texture, or one of perfect regularity"
        )
    left, right = shape.left, shape.right
    mean = (right - left) * shape.width * shape.mean_factor
    single = torch.stack([shape.alpha[0], (left[0].square() + right[0].square()) / 2])
    pairs = torch.stack([shape.alpha, mean, left.square(), right.square()], dim=-1)[1:]
    return torch.cat([single, pairs.flatten()])


def _half(plane: Tensor) -> Tensor:
    size = (plane.shape[0] // 2, plane.shape[1] // 2)
    return F.interpolate(plane.double()[None, None], size=size, mode="bicubic", align_corners=False)[0, 0]


@functools.cache
def _weights() -> dict[str, Tensor]:
    with lasting():
        return load_file(verified(WEIGHTS))
