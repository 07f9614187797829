"""Image files to tensors and back: 8-bit sRGB whatever the file held, and nothing done in silence."""

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from models.image_files import jpeg, png, webp
from models.image_files.colors import BACKGROUND, ColorPlan, plan_colors, to_srgb
from models.image_files.encoding import encode
from models.image_files.header import Header
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
from models.image_files.loading import load
from models.image_files.orientation import read_orientation, turn_upright, upright_size

__all__ = [
    "BACKGROUND",
    "AnimatedImageError",
    "BrokenImageError",
    "Header",
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
    "inspect",
]

_LIMITS = ImageLimits()


class ImageFacts(BaseModel):
    """What an image file held, and what was done to read it as 8-bit sRGB."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: ImageFormat = Field(description="Format of the file, by its content.")
    width: int = Field(description="Pixels, after the orientation is applied.")
    height: int = Field(description="Pixels, after the orientation is applied.")
    mode: str = Field(description="What a pixel was: `RGB`, `CMYK`, `16-bit gray`, `palette`, ...")
    bytes: int = Field(description="Size of the file.")
    sha256: str = Field(description="SHA-256 of the file, hexadecimal.")
    conversions: tuple[str, ...] = Field(description="What was done to get 8-bit sRGB, in order.")


class _Picture(NamedTuple):
    image: Image.Image
    header: Header
    colors: ColorPlan
    orientation: int
    facts: ImageFacts


def inspect(data: bytes, limits: ImageLimits = _LIMITS) -> Header:
    """Read a file's header and check it against `limits`; no pixel is decoded and nothing large allocated.

    Raises ImageError: UnsupportedImageError, AnimatedImageError, ImageTooLargeError, ImageTooSmallError or
    BrokenImageError.
    """
    limits.check_bytes(len(data))
    header = _read_header(data)
    limits.check_size(header.width, header.height)
    return header


def check(data: bytes, limits: ImageLimits = _LIMITS) -> ImageFacts:
    """Decode a file only to see that it is whole, and return the facts that `decode` would. Raises ImageError."""
    return _load(data, limits, is_check=True).facts


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
    picture = _load(data, limits, is_check=False)
    image = turn_upright(to_srgb(picture.image, picture.header, picture.colors), picture.orientation)
    return np.array(image), picture.facts


def _read_header(data: bytes) -> Header:
    if not data:
        raise BrokenImageError("the file is empty")
    if data.startswith(png.SIGNATURE):
        return png.read_png(data)
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.read_jpeg(data)
    if webp.is_webp(data):
        return webp.read_webp(data)
    raise UnsupportedImageError("the file is not a PNG, JPEG or WebP image", limit="png, jpeg, webp")


def _load(data: bytes, limits: ImageLimits, *, is_check: bool) -> _Picture:
    header = inspect(data, limits)
    image = load(header, is_check=is_check)
    colors = plan_colors(image, header)
    conversions = [*header.remarks, *colors.conversions]
    try:
        orientation = read_orientation(header.exif)
    except ValueError:
        orientation = 1
        conversions.append("exif-ignored")
    if orientation != 1:
        conversions.append(f"exif-orientation-{orientation}")
    width, height = upright_size(header.width, header.height, orientation)
    facts = ImageFacts(
        format=header.format,
        width=width,
        height=height,
        mode=header.mode,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        conversions=tuple(conversions),
    )
    return _Picture(image, header, colors, orientation, facts)
