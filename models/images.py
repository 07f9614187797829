"""Image files to tensors and back: 8-bit sRGB whatever the file held, and nothing done in silence."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.image_files.colors import to_srgb
from models.image_files.encoding import encode
from models.image_files.limits import (
    AnimatedImageError,
    BrokenImageError,
    ImageError,
    ImageFormat,
    ImageLimits,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageError,
)
from models.image_files.orientation import turn_upright
from models.image_files.reading import ImageFacts, check, read

__all__ = [
    "AnimatedImageError",
    "BrokenImageError",
    "ImageError",
    "ImageFacts",
    "ImageFormat",
    "ImageLimits",
    "ImageTooLargeError",
    "ImageTooSmallError",
    "UnsupportedImageError",
    "check",
    "decode",
    "encode",
]

_LIMITS = ImageLimits()


def decode(data: bytes, limits: ImageLimits = _LIMITS) -> tuple[Tensor, ImageFacts]:
    """Read a PNG, WebP or JPEG file: float32 RGB in [0, 1], (1, 3, H, W), contiguous, each value a 255th.

    The orientation is applied, colors are brought to sRGB, 16 bits are cut to their high byte, transparent pixels show
    white: `ImageFacts.conversions` says which of these happened. Raises ImageError.
    """
    levels, facts = _levels(data, limits)
    pixels = torch.from_numpy(levels).permute(2, 0, 1)[None]
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255), facts


def _levels(data: bytes, limits: ImageLimits) -> tuple[NDArray[np.uint8], ImageFacts]:
    """Return uint8 RGB (H, W, 3): a function of its own so that Pillow's copy is gone before the floats come."""
    picture = read(data, limits, is_check=False)
    image = turn_upright(to_srgb(picture.image, picture.header, picture.colors), picture.orientation)
    return np.array(image), picture.facts
