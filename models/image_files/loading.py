"""A file that has been taken apart, handed to its decoder."""

import io
import struct
import zlib

from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from models.image_files.header import Header
from models.image_files.jpeg import check_blocks
from models.image_files.limits import BrokenImageError, ImageFormat
from models.image_files.png_rows import check_rows

# The decoders by name, not Image.open: no other format is ever tried, and its own limit on pixels, a warning and an
# error governed by a global, never meets ours.
_DECODERS: dict[ImageFormat, type[ImageFile.ImageFile]] = {
    ImageFormat.PNG: PngImageFile,
    ImageFormat.WEBP: WebPImageFile,
    ImageFormat.JPEG: JpegImageFile,
}
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


def load(header: Header, *, is_check: bool) -> Image.Image:
    """Return the decoded picture in the file's own colors. Raises BrokenImageError unless all of it is there.

    With `is_check` the file is read as fully, but the picture that comes back has its mode and no useful pixels.
    """
    # pyiqa's data loaders turn this on for the whole process, and then files that end early decode to gray.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image = _DECODERS[header.format](io.BytesIO(header.drawing))
    except _DECODER_ERRORS as error:
        raise BrokenImageError(f"the {header.format.name} file cannot be opened: {error}") from error
    if image.size != (header.width, header.height):
        raise BrokenImageError(f"the {header.format.name} file states two different sizes")
    if header.format is ImageFormat.JPEG:
        check_blocks(header)
        if is_check:
            image.draft(None, (1, 1))  # every bit is read, one pixel in 64 drawn
    if header.format is ImageFormat.PNG:
        check_rows(header.drawing)
        if is_check:
            return image
    try:
        image.load()
    except _DECODER_ERRORS as error:
        raise BrokenImageError(f"the {header.format.name} file cannot be decoded: {error}") from error
    return image
