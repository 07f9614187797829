"""A file read whole, without torch: what it is, that all of it is there, and its picture in the file's own colors."""

import hashlib
from typing import NamedTuple

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from models.image_files import jpeg, png, webp
from models.image_files.colors import ColorPlan, plan_colors
from models.image_files.foreign import kind_of
from models.image_files.header import Header
from models.image_files.limits import BrokenImageError, ImageFormat, ImageLimits, UnsupportedImageError
from models.image_files.loading import load
from models.image_files.orientation import read_orientation, tells_other_colors, upright_size

_LIMITS = ImageLimits()


class ImageFacts(BaseModel):
    """What an image file held, and what was done to read it as 8-bit sRGB."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: ImageFormat = Field(description="Format of the file, detected from its content.")
    width: int = Field(description="Pixels, after the orientation is applied.")
    height: int = Field(description="Pixels, after the orientation is applied.")
    mode: str = Field(description="Kind of pixels in the file: `RGB`, `CMYK`, `16-bit gray`, `palette`, ...")
    bytes: int = Field(description="Size of the file in bytes.")
    sha256: str = Field(description="SHA-256 of the file, hexadecimal.")
    conversions: tuple[str, ...] = Field(description="Conversions to 8-bit sRGB, in order.")


class Picture(NamedTuple):
    """A decoded picture in the file's own colors, and what is needed to make it upright sRGB."""

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
    return read(data, limits, is_check=True).facts


def read(data: bytes, limits: ImageLimits, *, is_check: bool) -> Picture:
    """Decode a file fully; with `is_check` the picture that comes back holds no useful pixels. Raises ImageError."""
    header = inspect(data, limits)
    image = load(header, is_check=is_check)
    colors = plan_colors(image, header)
    conversions = [*header.remarks, *colors.conversions]
    if header.icc is None and tells_other_colors(header.exif):
        conversions.append("exif-color-space-ignored")
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
    return Picture(image, header, colors, orientation, facts)


def _read_header(data: bytes) -> Header:
    if not data:
        raise BrokenImageError("the file is empty")
    if data.startswith(png.SIGNATURE):
        return png.read_png(data)
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.read_jpeg(data)
    if webp.is_webp(data):
        return webp.read_webp(data)
    kind = kind_of(data)
    raise UnsupportedImageError(
        "the file is not a PNG, JPEG or WebP image" + (f"; it is {kind}" if kind else ""), limit="png, jpeg, webp"
    )
