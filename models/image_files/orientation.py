"""Which way is up: the orientation in an EXIF block, and turning a picture by it."""

import struct

from PIL import Image

_ORIENTATION_TAG, _SHORT = 0x0112, 3
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
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        raise ValueError("the EXIF block is not a TIFF file")
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for index in range(count):
            tag, kind, length, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * index)
            if (tag, kind, length) == (_ORIENTATION_TAG, _SHORT, 1):
                return value if value in _TURNS else 1
    except struct.error as error:
        raise ValueError("the EXIF block ends early") from error
    return 1


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the picture turned and mirrored so that orientation 1 is right for it."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Return (width, height) in pixels after `turn_upright`."""
    return (height, width) if orientation >= 5 else (width, height)
