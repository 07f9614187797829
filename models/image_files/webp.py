"""The chunks of a WebP file."""

from models.image_files.header import MAX_PARTS, MAX_PROFILE, Header, too_many, unpack
from models.image_files.limits import AnimatedImageError, BrokenImageError, ImageFormat

_ANIMATION, _ALPHA = 0x02, 0x10


def is_webp(data: bytes) -> bool:
    """Return whether a file begins as WebP files do."""
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def read_webp(data: bytes) -> Header:
    """Take a WebP file apart. Raises AnimatedImageError, BrokenImageError, ImageTooLargeError (too many chunks)."""
    (length,) = unpack("<I", data, 4)
    if len(data) < length + 8:
        raise BrokenImageError("the WebP file ends early")
    drawing = data[: length + 8]
    chunks = _chunks(drawing)
    flags = int.from_bytes(chunks.get(b"VP8X", b"")[:1])
    if b"ANIM" in chunks or b"ANMF" in chunks or flags & _ANIMATION:
        raise AnimatedImageError("the file is an animated WebP")
    width, height, has_alpha = _frame(chunks)
    profile = chunks.get(b"ICCP")
    return Header(
        ImageFormat.WEBP,
        width,
        height,
        "RGBA" if has_alpha else "RGB",
        drawing,
        icc=b"" if profile and len(profile) > MAX_PROFILE else profile,
        exif=chunks.get(b"EXIF"),
    )


def _chunks(data: bytes) -> dict[bytes, bytes]:
    chunks: dict[bytes, bytes] = {}
    position = 12
    for _ in range(MAX_PARTS):
        if position >= len(data):
            return chunks
        name, size = unpack("<4sI", data, position)
        if position + 8 + size > len(data):
            raise BrokenImageError("the WebP file ends early")
        chunks.setdefault(name, data[position + 8 : position + 8 + size])
        position += 8 + size + size % 2
    raise too_many("chunks", MAX_PARTS)


def _frame(chunks: dict[bytes, bytes]) -> tuple[int, int, bool]:
    """Return width, height and whether there is an alpha channel, from whichever of three headers comes first."""
    if b"VP8X" in chunks:
        flags, *canvas = unpack("<B3xHBHB", chunks[b"VP8X"], 0)
        return canvas[0] + (canvas[1] << 16) + 1, canvas[2] + (canvas[3] << 16) + 1, bool(flags & _ALPHA)
    if b"VP8L" in chunks:
        (bits,) = unpack("<I", chunks[b"VP8L"], 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    width, height = unpack("<HH", chunks.get(b"VP8 ", b""), 6)
    return width & 0x3FFF, height & 0x3FFF, False
