"""A label without people: what full-reference metrics, fused, say about a distorted photograph beside the original.

Each metric's value becomes its rank among the distorted training photographs (0 worst, 1 best), so that all count alike
however they are scaled; their mean times 100 is the pseudo-MOS, and the untouched photograph has 100. Fusing ranks of
full-reference metrics to learn quality without opinions is the idea of Ye, Kumar and Doermann, CVPR 2014 ("Beyond human
opinion scores"). The metrics are piq's (Apache-2.0), so that nothing about the labels is bound to a noncommercial
licence.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import piq
import torch
from numpy.typing import NDArray
from torch import Tensor

MEMBERS = {
    "vsi": piq.vsi,
    "haarpsi": piq.haarpsi,
    "mdsi": piq.mdsi,
    "ms_gmsd": piq.multi_scale_gmsd,
    "ms_ssim": piq.multi_scale_ssim,
    "dss": piq.dss,
}
"""Full-reference metrics without weights: color, edges, structure and frequencies."""

LOWER_IS_BETTER = {"mdsi", "ms_gmsd"}
SCALE = Path(__file__).with_suffix(".json")
KNOTS = 65
MIN_SIDE = 161
"""MS-SSIM's smallest side, in pixels."""


@torch.no_grad()
def measure(clean: Tensor, distorted: Tensor) -> dict[str, NDArray[np.float64]]:
    """Return each member's value for pairs of float32 RGB in [0, 1], (N, 3, H, W): higher is better for all of them."""
    values = {}
    for name, member in MEMBERS.items():
        options = {"chromatic": True} if name == "ms_gmsd" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # piq's own use of torch.meshgrid and the like
            raw = member(distorted, clean, data_range=1.0, reduction="none", **options)
        sign = -1 if name in LOWER_IS_BETTER else 1
        values[name] = sign * raw.reshape(-1).double().numpy()
    return values


Scale = Mapping[str, Sequence[float]]
"""Each member's quantiles over distorted photographs."""


def fit(values: Mapping[str, Sequence[float]]) -> Scale:
    """Return each member's quantiles over the distorted training photographs: the scale that `fuse` reads."""
    points = np.linspace(0, 1, KNOTS)
    return {name: [float(knot) for knot in np.quantile(values[name], points)] for name in MEMBERS}


def fuse(values: Mapping[str, NDArray[np.float64]], scale: Scale) -> NDArray[np.float64]:
    """Return the pseudo-MOS, 0 to 100, of values that `measure` gave."""
    points = np.linspace(0, 1, KNOTS)
    ranks = [np.interp(values[name], scale[name], points) for name in MEMBERS]
    return np.asarray(100 * np.mean(ranks, axis=0), np.float64)


def read_scale() -> Scale:
    """Return the scale of the shipped metric's labels."""
    scale: Scale = json.loads(SCALE.read_text(encoding="utf-8"))
    return scale
