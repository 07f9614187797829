"""The chunks of a PNG file."""

import struct
import zlib
from collections.abc import Iterator

from models.image_files.header import MAX_PARTS, MAX_PROFILE, Header, too_many, unpack
from models.image_files.limits import AnimatedImageError, BrokenImageError, ImageFormat

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_MODES = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGBA"}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_DRAWING = {0: [b"tRNS"], 2: [b"tRNS"], 3: [b"PLTE", b"tRNS"], 4: [], 6: []}
_KEY_BYTES = {0: 2, 2: 6}
_SRGB_CODE_POINTS = bytes((1, 13, 0, 1))
_SRGB_GAMMA, _GAMMA_TOLERANCE = 45_455, 500
_SRGB_PRIMARIES, _PRIMARIES_TOLERANCE = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000), 1_000


def read_png(data: bytes) -> Header:
    """Take a PNG file apart. Raises AnimatedImageError, BrokenImageError, ImageTooLargeError (too many chunks)."""
    chunks: dict[bytes, bytes] = {}
    pixels: list[bytes] = []
    for name, chunk in _chunks(data):
        if name == b"acTL":
            raise AnimatedImageError("the file is an animated PNG")
        if name == b"IDAT":
            pixels.append(chunk)
        elif name in chunks and name in {b"IHDR", b"PLTE", b"tRNS"}:
            raise BrokenImageError(f"the PNG file has two {name.decode()} chunks")
        else:
            chunks.setdefault(name, chunk)
    width, height, depth, color = _frame(chunks)
    mode = _MODES[color] if depth == 8 else f"{depth}-bit {_MODES[color]}"
    drawn = [chunks[part] for part in (b"IHDR", *_DRAWING[color]) if part in chunks]
    return Header(
        ImageFormat.PNG,
        width,
        height,
        mode,
        b"".join([SIGNATURE, *drawn, *pixels, chunks[b"IEND"]]),
        depth=depth,
        icc=_profile(_body(chunks, b"iCCP")) if b"iCCP" in chunks else None,
        exif=_body(chunks, b"eXIf") or None,
        remarks=_remarks(chunks),
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position, view = len(SIGNATURE), memoryview(data)
    for _ in range(MAX_PARTS):
        length, name = unpack(">I4s", data, position)
        end = position + length + 12
        (checksum,) = unpack(">I", data, end - 4)
        if zlib.crc32(view[position + 4 : end - 4]) != checksum:
            raise BrokenImageError(f"the PNG file is damaged: wrong checksum before byte {end}")
        yield name, data[position:end]
        if name == b"IEND":
            return
        position = end
    raise too_many("chunks", MAX_PARTS)


def _body(chunks: dict[bytes, bytes], name: bytes) -> bytes:
    return chunks.get(name, b"")[8:-4]


def _frame(chunks: dict[bytes, bytes]) -> tuple[int, int, int, int]:
    header, palette, key = (_body(chunks, name) for name in (b"IHDR", b"PLTE", b"tRNS"))
    if next(iter(chunks)) != b"IHDR" or len(header) != 13:
        raise BrokenImageError("the PNG file does not begin with its header")
    width, height, depth, color, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    if depth not in _DEPTHS.get(color, ()) or compression or filtering or interlace > 1:
        raise BrokenImageError("the PNG file's header is not valid")
    colors = len(palette) // 3
    if color == 3 and not (0 < colors <= 256 and len(palette) % 3 == 0 and len(key) <= colors):
        raise BrokenImageError("the PNG file's palette is not valid")
    if key and len(key) != _KEY_BYTES.get(color, len(key)):
        raise BrokenImageError("the PNG file's transparent color is not valid")
    return width, height, depth, color


def _profile(chunk: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(chunk[chunk.find(b"\0") + 2 :], MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if inflater.eof else b""


def _remarks(chunks: dict[bytes, bytes]) -> tuple[str, ...]:
    remarks = []
    if _body(chunks, b"cICP") not in {b"", _SRGB_CODE_POINTS}:
        remarks.append("cicp-ignored")
    if {b"sRGB", b"iCCP", b"cICP"} & chunks.keys():  # they say more, and win
        return tuple(remarks)
    gamma = int.from_bytes(_body(chunks, b"gAMA"))
    if gamma and abs(gamma - _SRGB_GAMMA) > _GAMMA_TOLERANCE:
        remarks.append("gamma-ignored")
    primaries = _body(chunks, b"cHRM")
    told = struct.unpack(">8I", primaries) if len(primaries) == 32 else _SRGB_PRIMARIES
    if any(abs(one - other) > _PRIMARIES_TOLERANCE for one, other in zip(told, _SRGB_PRIMARIES, strict=True)):
        remarks.append("primaries-ignored")
    return tuple(remarks)
