"""The segments of a JPEG file."""

import re
from collections.abc import Iterator

from models.image_files.header import MAX_PARTS, MAX_PROFILE, Header, too_many, unpack
from models.image_files.limits import BrokenImageError, ImageFormat, UnsupportedImageError

SIGNATURE = b"\xff\xd8\xff"
MAX_SCANS = 50
"""Most scans: each costs a walk over the whole picture, however few bytes it has. Encoders write about ten."""

_MODES = {1: "gray", 3: "RGB", 4: "CMYK"}
# In coded pixels FF is followed by 00 or by a restart marker D0-D7; anything else begins a segment.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
_SOI, _EOI, _SOS, _DHT, _DQT, _DRI = 0xD8, 0xD9, 0xDA, 0xC4, 0xDB, 0xDD
_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_READABLE_FRAMES = {0xC0, 0xC1, 0xC2}
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xDE, 0xF7}
_DRAWING = {*_READABLE_FRAMES, _SOS, _DHT, _DQT, _DRI, _EOI}


def read_jpeg(data: bytes) -> Header:
    """Take a JPEG file apart; of a multi-picture file (MPO) only the first picture is kept.

    Raises UnsupportedImageError for lossless, arithmetic or 12-bit JPEG, BrokenImageError, ImageTooLargeError (too
    many segments or scans).
    """
    kept, application, frame = [SIGNATURE[:2]], _Application(), b""
    for marker, segment, pixels in _segments(data):
        kept.append(pixels)
        if marker in _READABLE_FRAMES and frame:
            raise BrokenImageError("the JPEG file has two frames")
        if marker in _OTHER_FRAMES:
            raise UnsupportedImageError("the JPEG file is neither baseline nor progressive")
        if marker in _READABLE_FRAMES:
            frame = segment
        if marker in _DRAWING or application.takes(marker, segment[4:]):
            kept.append(segment)
    depth, height, width, channels = unpack(">BHHB", frame, 4)
    if depth != 8 or channels not in _MODES:
        raise UnsupportedImageError(f"the JPEG file has {channels} channels of {depth} bits", limit="1, 3 or 4 of 8")
    return Header(
        ImageFormat.JPEG,
        width,
        height,
        _MODES[channels],
        b"".join(kept),
        inverted=application.is_adobe,
        icc=application.profile(),
        exif=application.exif,
        remarks=application.remarks,
    )


def check_blocks(header: Header) -> None:
    """Raise BrokenImageError if there is less than a bit for each 8 x 8 pixels: decoders make up the missing ones."""
    if 8 * len(header.drawing) < -(-header.width // 8) * -(-header.height // 8):
        raise BrokenImageError("the JPEG file has far fewer pixels than it claims")


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each segment's marker, its bytes, and the coded pixels before it."""
    position, scans = len(SIGNATURE) - 1, 0
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, position)
        if found is None:
            raise BrokenImageError("the JPEG file ends early")
        marker, pixels = found[1][0], data[position : found.start()] if scans else b""
        if marker == _EOI:
            yield marker, found[0], pixels
            return
        if marker < 0xC0 or marker == _SOI:
            raise BrokenImageError(f"the JPEG file is damaged at byte {found.start()}")
        scans += marker == _SOS
        if scans > MAX_SCANS:
            raise too_many("scans", MAX_SCANS)
        (length,) = unpack(">H", data, found.end())
        position = found.end() + length
        if length < 2 or position > len(data):
            raise BrokenImageError("the JPEG file ends early")
        yield marker, data[found.start() : position], pixels
    raise too_many("segments", MAX_PARTS)


class _Application:
    """What the application segments say: EXIF, color profile, Adobe's inversion, more pictures."""

    def __init__(self) -> None:
        self.exif: bytes | None = None
        self.is_adobe = False
        self.remarks: tuple[str, ...] = ()
        self._pieces: dict[int, bytes] = {}

    def takes(self, marker: int, body: bytes) -> bool:
        """Note what a segment says; return whether the decoder needs it too, to know the color space."""
        if marker == _APP1 and body.startswith(b"Exif\0\0") and self.exif is None:
            self.exif = body[6:]
        elif marker == _APP2 and body.startswith(b"ICC_PROFILE\0") and len(body) >= 14:
            self._pieces.setdefault(body[12], body[13:])
        elif marker == _APP2 and body.startswith(b"MPF\0"):
            self.remarks = ("mpo-first-picture",)
        elif marker == _APP14 and body.startswith(b"Adobe"):
            self.is_adobe = True
            return True
        return marker == _APP0 and body.startswith(b"JFIF\0")

    def profile(self) -> bytes | None:
        if not self._pieces:
            return None
        pieces = [self._pieces.get(number, b"") for number in range(1, len(self._pieces) + 1)]
        complete = all(piece[:1] == bytes([len(pieces)]) for piece in pieces)
        profile = b"".join(piece[1:] for piece in pieces)
        return profile if complete and len(profile) <= MAX_PROFILE else b""
