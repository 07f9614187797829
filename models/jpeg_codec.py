"""The lossy part of JPEG (ITU-T T.81) in torch, step by step as libjpeg computes it, so that autograd can follow.

Entropy coding loses nothing and is left out. Against libjpeg-turbo on photos at quality 10 to 90, EXACT gives the same
8-bit value in 97 to 99.9 % of places and differs by 0.04 levels on average; POLYNOMIAL differs by about one.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Subsampling = Literal["4:2:0", "4:4:4"]

LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""Quantization steps of T.81, annex K, by vertical and horizontal frequency, for quality 50."""

UNIT = 16
"""Rows of two blocks, one of halved colors; no row is felt further away."""
BAND = 16 * UNIT
"""Rows of an image that are recoded at a time."""
NUDGE = 1e-3
"""Makes a tie round up although float32 holds it a hair too low; ties are frequent where steps are whole numbers."""


class Rounding(NamedTuple):
    """How the codec loses precision: rounding of samples on their way and of coefficients, and the 8-bit range."""

    samples: Callable[[Tensor], Tensor]
    coefficients: Callable[[Tensor], Tensor]
    clips: bool = True


def _keep(values: Tensor) -> Tensor:
    return values


def _half_up(values: Tensor) -> Tensor:
    return (values + (0.5 + NUDGE)).floor()


def _away_from_zero(values: Tensor) -> Tensor:
    return values.sign() * (values.abs() + 0.5).floor()


def _polynomial(values: Tensor) -> Tensor:
    whole = values.detach().round()
    return whole + (values - whole) ** 3


EXACT = Rounding(samples=_half_up, coefficients=_away_from_zero)
"""What libjpeg does; the gradient is zero."""
POLYNOMIAL = Rounding(samples=_keep, coefficients=_polynomial)
"""Shin and Song (2017): a cubic around each integer, with a gradient; 8-bit samples stay unrounded."""
SMOOTH = Rounding(samples=_keep, coefficients=_keep, clips=False)
"""No loss but the color subsampling. No range either, whose gradient at white is a matter of float32's last bit."""


def quantization_tables(quality: int) -> Tensor:
    """Return libjpeg's (2, 8, 8) tables, luma and chroma, for a quality of 1 to 100; int64, each step in 1..255."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor([LUMA_TABLE, CHROMA_TABLE]) * percent + 50) // 100).clamp(1, 255)


def recode(images: Tensor, quality: int, subsampling: Subsampling, rounding: Rounding) -> Tensor:
    """Return float32 RGB images in [0, 1], (N, 3, H, W), as they come back from a JPEG file of that quality.

    In bands, which do not show: what is computed on the way would take several times the image's memory.
    """
    height = images.shape[2]
    recoded = torch.empty_like(images)
    for top in range(0, height, BAND):
        above, bottom = min(top, UNIT), min(top + BAND, height)
        band = images[:, :, top - above : bottom + UNIT]
        recoded[:, :, top:bottom] = _recode(band, quality, subsampling, rounding)[:, :, above : above + bottom - top]
    return recoded


def _recode(images: Tensor, quality: int, subsampling: Subsampling, rounding: Rounding) -> Tensor:
    height, width = images.shape[2:]
    luma_table, chroma_table = quantization_tables(quality).to(images)
    levels = rounding.samples(images * 255)
    red, green, blue = levels[:, 0:1], levels[:, 1:2], levels[:, 2:3]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.cat([(blue - luma) / 1.772, (red - luma) / 1.402], dim=1)
    luma, chroma = rounding.samples(luma - 128), rounding.samples(chroma - 2 * NUDGE)  # libjpeg: luma up, chroma down
    luma = _quantize(luma, luma_table, rounding)
    if subsampling == "4:2:0":
        small = _quantize(_halve(chroma, rounding), chroma_table, rounding)[..., : math.ceil(width / 2)]
        chroma = _double(small, rounding)[..., :height, :width]
    else:
        chroma = _quantize(chroma, chroma_table, rounding)
    luma, blueness, redness = luma + 128, chroma[:, 0:1], chroma[:, 1:2]
    red, blue = luma + 1.402 * redness, luma + 1.772 * blueness
    green = luma - (0.299 * 1.402 * redness + 0.114 * 1.772 * blueness) / 0.587
    return _clip(rounding.samples(torch.cat([red, green, blue], dim=1)), 0, 255, rounding) / 255


def _quantize(samples: Tensor, table: Tensor, rounding: Rounding) -> Tensor:
    """Quantize the cosine coefficients of 8x8 blocks of samples in [-128, 127]; (N, C, H, W) in and out."""
    height, width = samples.shape[2:]
    padded = _extend(samples, -height % 8, -width % 8)
    count, channels, rows, columns = padded.shape
    blocks = padded.reshape(count, channels, rows // 8, 8, columns // 8, 8).transpose(3, 4)
    basis = _cosine_basis().to(samples)
    # libjpeg's integer transforms keep two more bits between their passes, and eighths of coefficients.
    fine = 4 * math.sqrt(8)
    passed = rounding.samples(fine * (blocks @ basis.T)) / fine
    coefficients = rounding.samples(8 * (basis @ passed)) / 8
    coefficients = rounding.coefficients(coefficients / table) * table
    passed = rounding.samples(fine * (basis.T @ coefficients)) / fine
    decoded = (passed @ basis).transpose(3, 4).reshape(padded.shape)[..., :height, :width]
    return _clip(rounding.samples(decoded), -128, 127, rounding)


def _halve(samples: Tensor, rounding: Rounding) -> Tensor:
    """Average 2x2 pixels, with whole blocks of columns: libjpeg extends columns before it averages, rows after."""
    height, width = samples.shape[2:]
    means = F.avg_pool2d(_extend(samples, height % 2, -width % 16), 2)
    return rounding.samples(_tilt(means, -2 * NUDGE, 0))


def _double(samples: Tensor, rounding: Rounding) -> Tensor:
    """Interpolate to twice the size by the weights 9, 3, 3, 1, which libjpeg calls fancy upsampling."""
    doubled = F.interpolate(samples, scale_factor=2, mode="bilinear", align_corners=False)
    return rounding.samples(_tilt(doubled, 0, -2 * NUDGE))


def _tilt(samples: Tensor, even: float, odd: float) -> Tensor:
    """Add to even and odd columns: libjpeg rounds ties up and down in turn, so that no color drifts."""
    return samples + torch.tensor([even, odd]).repeat(math.ceil(samples.shape[3] / 2))[: samples.shape[3]].to(samples)


def _clip(samples: Tensor, low: float, high: float, rounding: Rounding) -> Tensor:
    return samples.clamp(low, high) if rounding.clips else samples


def _extend(samples: Tensor, rows: int, columns: int) -> Tensor:
    return F.pad(samples, (0, columns, 0, rows), mode="replicate")


def _cosine_basis() -> Tensor:
    """Return the orthonormal (8, 8) matrix of the type-II cosine transform, one frequency a row."""
    frequency, place = torch.arange(8.0)[:, None], torch.arange(8.0)
    basis = 0.5 * torch.cos((2 * place + 1) * frequency * math.pi / 16)
    basis[0] /= math.sqrt(2)
    return basis
