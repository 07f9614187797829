"""What an image file says of itself, and only the parts of it that draw the picture.

Every part that does not draw (text, thumbnails, previews, whatever follows the end) is dropped before a decoder sees
the file. That is more than tidiness: Pillow lets a PNG text chunk named `interlace` or `icc_profile` overwrite what
the file really says, and works for minutes on files made of millions of empty parts.
"""

import struct
from typing import Any, NamedTuple

from models.image_files.limits import BrokenImageError, ImageFormat, ImageTooLargeError

MAX_PARTS = 50_000
"""Most chunks or segments in a file; a PNG of 25 MB in the usual pieces of 8 KiB has 3,000."""
MAX_PROFILE = 4_194_304
"""Most bytes of a color profile; those of printers have up to 3 MB."""


class Header(NamedTuple):
    """What a file says of itself."""

    format: ImageFormat
    width: int
    """Pixels as stored, before the orientation is applied; likewise `height`."""
    height: int
    mode: str
    """What a pixel is, in words: RGB, CMYK, 16-bit gray."""
    drawing: bytes
    """A file of the same format with nothing but the parts that draw the picture."""
    depth: int = 8
    """Bits per channel, 1 to 16."""
    inverted: bool = False
    """CMYK only: 255 means no ink, as Adobe writes it."""
    icc: bytes | None = None
    """The color profile; empty if there is one that cannot be read."""
    exif: bytes | None = None
    """The EXIF block, a TIFF file."""
    remarks: tuple[str, ...] = ()
    """What is left out on purpose, in the words of `ImageFacts.conversions`."""


def unpack(layout: str, data: bytes | memoryview, position: int) -> tuple[Any, ...]:
    """Return the numbers at a byte position, in `struct` layout. Raises BrokenImageError if they are not all there."""
    try:
        return struct.unpack_from(layout, data, position)
    except struct.error as error:
        raise BrokenImageError("the file ends early") from error


def too_many(parts: str, limit: int) -> ImageTooLargeError:
    """Return the error for a file with more than `limit` parts."""
    return ImageTooLargeError(f"the file has more than {limit} {parts}", limit=limit, actual=f"more than {limit}")
