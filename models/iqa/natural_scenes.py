"""Statistics of natural scenes, on which BRISQUE (Mittal et al., IEEE TIP 2012) and NIQE (IEEE SPL 2013) rest.

Everything is computed in float64, for a variance is a difference of large numbers, and strip by strip, which bounds the
memory of a large image to its luma and one strip. Gradients are exact but for two straight-through steps: luma is
rounded to 8-bit values, and the shape of a distribution is read from a table, whose slope stands for it.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

RADIUS = 3
"""How far, in pixels, the 7x7 Gaussian window reaches."""

FLAT = 1e-6
"""A difference from the local mean under this, on the scale 0 to 255, is rounding: the pixel counts as flat."""

STRIP = 2**18
"""About how many pixels are worked on at once."""


def luma(images: Tensor) -> Tensor:
    """Return the BT.601 luma of RGB images in [0, 1], (N, 3, H, W): float32 whole numbers 0 to 255, (N, H, W).

    Rounding is straight-through: its gradient is that of the values before it.
    """
    red, green, blue = images.unbind(1)
    values = 255 * (0.299 * red + 0.587 * green + 0.114 * blue)
    return values + (values.round() - values).detach()


def strips(plane: Tensor, unit: int = 1) -> Iterator[tuple[int, int]]:
    """Yield the first row and the row after the last of strips of a plane (H, W), each of whole `unit` rows."""
    rows = max(1, STRIP // (plane.shape[1] * unit)) * unit
    for top in range(0, plane.shape[0], rows):
        yield top, min(top + rows, plane.shape[0])


def on_strip(function: Callable[..., Tensor], plane: Tensor, top: int, bottom: int) -> Tensor:
    """Return function(plane, top, bottom); under autograd of a large plane, compute it again for the gradient."""
    if plane.requires_grad and torch.is_grad_enabled() and plane.numel() > STRIP:
        return torch.as_tensor(checkpoint(function, plane, top, bottom, use_reentrant=False))
    return function(plane, top, bottom)


def normalized(plane: Tensor, top: int, bottom: int) -> Tensor:
    """Return rows top to bottom of the mean-subtracted, contrast-normalized plane (H, W), values 0 to 255, in float64.

    Mean and deviation are those of a 7x7 Gaussian window of sigma 7/6; the plane's edge is repeated. Where the window
    sees nothing but one value, the result is exactly 0.
    """
    rows = torch.arange(top - RADIUS, bottom + RADIUS, device=plane.device).clamp(0, plane.shape[0] - 1)
    padded = F.pad(plane[rows].double()[None, None], (RADIUS, RADIUS, 0, 0), mode="replicate")[0, 0]
    mean, square = _blur(torch.stack([padded, padded * padded]))
    difference = padded[RADIUS:-RADIUS, RADIUS:-RADIUS] - mean
    variance = square - mean * mean
    varies = variance > FLAT**2
    deviation = torch.where(varies, variance, 1).sqrt() * varies
    flat = difference.detach().abs() <= FLAT
    coefficients: Tensor = difference.masked_fill(flat, 0) / (deviation + 1)
    return coefficients


def _blur(planes: Tensor) -> Tensor:
    weights, (height, width) = _window(), (planes.shape[1] - 2 * RADIUS, planes.shape[2] - 2 * RADIUS)
    columns = weights[0] * planes[:, :, :width]
    for i in range(1, len(weights)):
        columns = torch.add(columns, planes[:, :, i : i + width], alpha=weights[i])
    blurred = weights[0] * columns[:, :height]
    for i in range(1, len(weights)):
        blurred = torch.add(blurred, columns[:, i : i + height], alpha=weights[i])
    return blurred


@functools.cache
def _window() -> list[float]:
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / (7 / 6)) ** 2)
    return (weights / weights.sum()).tolist()


class Moments(NamedTuple):
    """Sums over the values of a distribution, from which its shape is fitted. Each is float64, (...,)."""

    left: Tensor
    """How many values are negative."""
    right: Tensor
    """How many are positive."""
    left_square: Tensor
    """Sum of the squares of the negative ones."""
    right_square: Tensor
    absolute: Tensor
    """Sum of all absolute values."""

    @classmethod
    def of(cls, values: Tensor) -> "Moments":
        """Sum up values (..., h, w) over their last two dimensions."""
        axes = (-2, -1)
        negative, positive = values.clamp(max=0), values.clamp(min=0)
        return cls(
            (values < 0).sum(axes, dtype=torch.float64),
            (values > 0).sum(axes, dtype=torch.float64),
            negative.square().sum(axes),
            positive.square().sum(axes),
            positive.sum(axes) - negative.sum(axes),
        )


class Shape(NamedTuple):
    """An asymmetric generalized Gaussian fitted by moments: each is float64, (...,)."""

    alpha: Tensor
    left: Tensor
    """Deviation of the negative values; a side without values has a deviation of 1, and is told by the next two."""
    right: Tensor
    has_left: Tensor
    has_right: Tensor

    @property
    def width(self) -> Tensor:
        """What a deviation is multiplied by to give the scale of the distribution, beta."""
        return torch.exp(0.5 * (torch.lgamma(1 / self.alpha) - torch.lgamma(3 / self.alpha)))

    @property
    def mean_factor(self) -> Tensor:
        """What the difference of the two scales is multiplied by to give the mean."""
        return torch.exp(torch.lgamma(2 / self.alpha) - torch.lgamma(1 / self.alpha))


def fit(moments: Moments, count: int) -> Shape:
    """Fit the distribution of `count` values. Where either side has no values, alpha is 0.2, the least in the table."""
    has_left, has_right = moments.left > 0, moments.right > 0
    whole = has_left & has_right
    left = (torch.where(has_left, moments.left_square, 1) / moments.left.clamp(min=1)).sqrt()
    right = (torch.where(has_right, moments.right_square, 1) / moments.right.clamp(min=1)).sqrt()
    squares = torch.where(whole, moments.left_square + moments.right_square, 1)
    ratio = left / right
    peakedness = moments.absolute.square() / (count * squares)
    corrected = peakedness * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    return Shape(_alpha(torch.where(whole, corrected, 0)), left, right, has_left, has_right)


def _alpha(peakedness: Tensor) -> Tensor:
    alphas, between, slopes = (table.to(peakedness.device) for table in _table())
    nearest = torch.searchsorted(between, peakedness.detach().contiguous())
    return alphas[nearest] + slopes[nearest] * (peakedness - peakedness.detach())


@functools.cache
def _table() -> tuple[Tensor, Tensor, Tensor]:
    """Return shapes 0.2, 0.201, ... 10, the peakedness halfway between neighbors, and the shape's slope over it."""
    alphas = 0.2 + 0.001 * torch.arange(9801, dtype=torch.float64)
    values = torch.exp(2 * torch.lgamma(2 / alphas) - torch.lgamma(1 / alphas) - torch.lgamma(3 / alphas))
    slopes = 1 / torch.gradient(values, spacing=0.001)[0]
    slopes[[0, -1]] = 0  # beyond the table nothing changes
    return alphas, (values[1:] + values[:-1]) / 2, slopes
