"""Whether a PNG file has all the rows that it claims: Pillow leaves missing ones black."""

import zlib
from collections.abc import Iterator

from models.image_files.header import unpack
from models.image_files.limits import BrokenImageError
from models.image_files.png import SIGNATURE

BLOCK = 1_048_576
"""Bytes of inflated rows held at a time."""
_FEED = 65_536
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_HIGHEST_FILTER = 4
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def check_rows(drawing: bytes) -> None:
    """Inflate the pixels of a `Header.drawing`, a little at a time. Raises BrokenImageError unless all are there."""
    width, height, depth, color, interlace = unpack(">IIBB2xB", drawing, 16)
    rows = _Rows(drawing)
    for left, top, across, down in _ADAM7 if interlace else ((0, 0, 1, 1),):
        columns, count = -(-(width - left) // across), -(-(height - top) // down)
        length = 1 + (columns * depth * _CHANNELS[color] + 7) // 8
        while columns > 0 and count > 0:
            some = min(count, max(1, BLOCK // length))
            if max(rows.read(some * length)[::length]) > _HIGHEST_FILTER:
                raise BrokenImageError("the PNG file has rows with an unknown filter")
            count -= some


class _Rows:
    def __init__(self, drawing: bytes) -> None:
        self._inflater = zlib.decompressobj()
        self._feed = _compressed(memoryview(drawing))
        self._input: bytes | memoryview = b""

    def read(self, count: int) -> bytes:
        parts = []
        while count:
            try:
                part = self._inflater.decompress(self._input, count)
            except zlib.error as error:
                raise BrokenImageError("the PNG file's pixels cannot be decompressed") from error
            self._input = self._inflater.unconsumed_tail
            if not part and not self._input:
                self._input = next(self._feed, b"")
                if not self._input:
                    raise BrokenImageError("the PNG file has fewer rows than it claims")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def _compressed(drawing: memoryview) -> Iterator[memoryview]:
    position = len(SIGNATURE)
    while position < len(drawing):
        length, name = unpack(">I4s", drawing, position)
        start, end = position + 8, position + 8 + length
        if name == b"IDAT":
            yield from (drawing[at : min(at + _FEED, end)] for at in range(start, end, _FEED))
        position = end + 4
