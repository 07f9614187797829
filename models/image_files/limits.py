"""What may come in as an image: the formats, the limits, and the five ways to be refused."""

from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

MOST_PIXELS = 178_000_000
"""The highest limit on pixels: above it Pillow refuses WebP files by itself."""


class ImageFormat(StrEnum):
    """The file formats that are read and written."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"

    @property
    def media_type(self) -> str:
        """Return the media type, such as image/png."""
        return f"image/{self.value}"

    @property
    def suffix(self) -> str:
        """Return the file name's ending with its dot, such as .png."""
        return ".jpg" if self is ImageFormat.JPEG else f".{self.value}"

    @property
    def max_side(self) -> int:
        """Return the longest side in pixels of a file that is written."""
        return {ImageFormat.PNG: 1_000_000, ImageFormat.WEBP: 16_383, ImageFormat.JPEG: 65_500}[self]


class ImageError(ValueError):
    """The bytes are not an image that is accepted. The message may be shown to who sent them."""

    code: ClassVar[str] = "invalid-image"
    """Stable name of the reason, for programs."""

    def __init__(self, message: str, *, limit: int | str | None = None, actual: int | str | None = None) -> None:
        """Take a sentence for people and, where there is one, the limit and what was there instead."""
        super().__init__(message)
        self.limit = limit
        self.actual = actual


class UnsupportedImageError(ImageError):
    """By its content the file is not a PNG, JPEG or WebP, or it is of a kind that is not read."""

    code = "unsupported-image"


class AnimatedImageError(UnsupportedImageError):
    """The file is an animation: which of its pictures would be scored?"""

    code = "animated-image"


class ImageTooLargeError(ImageError):
    """The file has too many bytes, pixels or parts."""

    code = "image-too-large"


class ImageTooSmallError(ImageError):
    """A side is shorter than the smallest that defenses and metrics accept."""

    code = "image-too-small"


class BrokenImageError(ImageError):
    """The file is empty, ends early or contradicts itself."""

    code = "broken-image"


class ImageLimits(BaseModel):
    """How large an image may be. All limits are checked before a pixel is decoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(25_000_000, gt=0, description="Largest file in bytes.")
    max_pixels: int = Field(40_000_000, gt=0, le=MOST_PIXELS, description="Largest image in pixels, height x width.")
    min_side: int = Field(16, gt=0, description="Smallest height and width in pixels.")
    max_side: int = Field(16_383, gt=0, le=65_535, description="Largest side in pixels; the default is WebP's own.")

    def check_bytes(self, count: int) -> None:
        """Raise ImageTooLargeError if a file of `count` bytes is too large."""
        if count > self.max_bytes:
            raise ImageTooLargeError(
                f"the file has {count} bytes; at most {self.max_bytes} are allowed", limit=self.max_bytes, actual=count
            )

    def check_size(self, width: int, height: int) -> None:
        """Raise ImageTooLargeError or ImageTooSmallError unless (width, height) in pixels is within the limits."""
        pixels, longest, shortest = width * height, max(width, height), min(width, height)
        if pixels > self.max_pixels:
            raise ImageTooLargeError(
                f"the image has {width} x {height} = {pixels} pixels; at most {self.max_pixels} are allowed",
                limit=self.max_pixels,
                actual=pixels,
            )
        if longest > self.max_side:
            raise ImageTooLargeError(
                f"the image is {width} x {height} pixels; a side may have at most {self.max_side}",
                limit=self.max_side,
                actual=longest,
            )
        if shortest < self.min_side:
            raise ImageTooSmallError(
                f"the image is {width} x {height} pixels; a side must have at least {self.min_side}",
                limit=self.min_side,
                actual=shortest,
            )
