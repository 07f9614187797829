"""What an EXIF block says: which way is up, and turning a picture by it; whether the colors are sRGB's."""

import struct
from collections.abc import Iterator

from PIL import Image

_ORIENTATION_TAG, _PHOTO_TAG, _COLOR_SPACE_TAG = 0x0112, 0x8769, 0xA001
_SHORT, _LONG, _SRGB = 3, 4, 1
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_orientation(exif: bytes | None) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none. Raises ValueError if the block cannot be read."""
    if not exif:
        return 1
    for tag, kind, value in _entries(exif):
        if (tag, kind) == (_ORIENTATION_TAG, _SHORT):
            return value if value in _TURNS else 1
    return 1


def tells_other_colors(exif: bytes | None) -> bool:
    """Return whether an EXIF block says that the colors are not sRGB's, as cameras do that are set to Adobe RGB."""
    try:
        for tag, kind, place in _entries(exif) if exif else ():
            if (tag, kind) == (_PHOTO_TAG, _LONG):
                return any(
                    (tag, kind) == (_COLOR_SPACE_TAG, _SHORT) and space != _SRGB
                    for tag, kind, space in _entries(exif or b"", place)
                )
    except ValueError:
        return False
    return False


def _entries(exif: bytes, start: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Yield tag, kind and value of the single numbers in a directory, by default the first. Raises ValueError."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        raise ValueError("the EXIF block is not a TIFF file")
    try:
        if start is None:
            (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for index in range(count):
            place = start + 2 + 12 * index
            tag, kind, length = struct.unpack_from(f"{order}HHI", tiff, place)
            (value,) = struct.unpack_from(f"{order}{'I' if kind == _LONG else 'H'}", tiff, place + 8)
            if length == 1:
                yield tag, kind, value
    except struct.error as error:
        raise ValueError("the EXIF block ends early") from error


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the picture turned and mirrored so that orientation 1 is right for it."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Return (width, height) in pixels after `turn_upright`."""
    return (height, width) if orientation >= 5 else (width, height)
