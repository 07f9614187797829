"""Image files made by hand, down to the byte: what no encoder would write."""

import functools
import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image, ImageCms

from models.images import decode


def photo(width: int = 64, height: int = 48) -> np.ndarray:
    """Smooth colors with a little texture, uint8 (H, W, 3); no symmetry, every row and column differs."""
    y, x = np.mgrid[:height, :width]
    channels = [x * 200 / width + 20, y * 200 / height + 30, (x + 2 * y) * 80 / width + 10]
    texture = np.random.default_rng(7).integers(-12, 12, (height, width, 1))
    return (np.stack(channels, axis=-1) + texture).clip(0, 255).astype(np.uint8)


def saved(image: Image.Image | None = None, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(photo())).save(file, kind, **options)
    return file.getvalue()


# PNG by hand


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(size: tuple[int, int], depth: int, color: int, pixels: bytes, *chunks: bytes, interlace: int = 0) -> bytes:
    """`pixels` are filtered rows, not yet compressed; `chunks` stand between the header and the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, color, 0, 0, interlace))
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *chunks, body, chunk(b"IEND")])


def resealed(data: bytes) -> bytes:
    """The PNG file with its checksums made right again, so that damage gets past them."""
    parts, position = [data[:8]], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if position + 12 + length > len(data):
            break
        parts.append(chunk(data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return b"".join(parts) + data[position:]


def rows(array: np.ndarray, depth: int = 8) -> bytes:
    """Unfiltered PNG rows of uint8 or uint16 (H, W) or (H, W, C); of (H, W) packed if `depth` is below 8."""
    if depth < 8:
        bits = array[..., None] >> np.arange(depth)[::-1] & 1
        array = np.packbits(bits.reshape(len(array), -1), axis=1)
    return b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in array)


def interlaced_rows(array: np.ndarray, depth: int = 8) -> bytes:
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [array[y::dy, x::dx] for y, x, dy, dx in passes]
    return b"".join(rows(part, depth) for part in parts if part.size)


def photo_png(*chunks: bytes) -> bytes:
    return png((64, 48), 8, 2, rows(photo()), *chunks)


def interlaced_png() -> bytes:
    return png((64, 48), 8, 2, interlaced_rows(photo()), interlace=1)


def photo16() -> np.ndarray:
    """Uint16 (H, W, 3) whose high byte is `photo` and whose low byte is something else."""
    return photo().astype(np.uint16) * 256 + photo()[::-1]


def png16_rgb() -> bytes:
    return png((64, 48), 16, 2, rows(photo16()))


def png16_gray() -> bytes:
    return png((64, 48), 16, 0, rows(photo16()[..., 0]))


@functools.cache
@functools.cache  # packing takes longer than most tests
def png_bomb(width: int, height: int) -> bytes:
    packer, row = zlib.compressobj(9), bytes(width + 1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, chunk(b"IDAT", packed), chunk(b"IEND")])


@functools.cache
def inflating(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1_000_000)) for _ in range(megabytes)) + packer.flush()


def png_with_broken_checksum() -> bytes:
    data = bytearray(photo_png())
    data[-20] ^= 1
    return bytes(data)


def png_claiming(width: int, height: int) -> bytes:
    return png((width, height), 8, 2, rows(photo()))


# JPEG by hand


def jpeg(**options: object) -> bytes:
    return saved(kind="JPEG", **({"quality": 95} | options))


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(jpeg())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def jpeg_of_kind(marker: int) -> bytes:
    return jpeg().replace(b"\xff\xc0\x00\x11", bytes([0xFF, marker, 0x00, 0x11]))


def jpeg_of_many_scans() -> bytes:
    data = jpeg(progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * 200 + data[-2:]


def cmyk() -> np.ndarray:
    """Ink, uint8 (H, W, 4), 255 is full."""
    return np.concatenate([255 - photo(), photo()[..., :1] // 4], axis=-1)


def cmyk_jpeg(**options: object) -> bytes:
    return saved(Image.fromarray(cmyk(), "CMYK"), "JPEG", quality=100, subsampling=0, **options)


def cmyk_jpeg_without_adobe() -> bytes:
    """The same picture as `cmyk_jpeg`: no Adobe segment, so 255 is full ink in the file too."""
    data = saved(Image.fromarray(255 - cmyk(), "CMYK"), "JPEG", quality=100, subsampling=0)
    start = data.index(b"\xff\xee\x00\x0eAdobe")
    return data[:start] + data[start + 16 :]


def mpo() -> bytes:
    return saved(kind="MPO", quality=95, save_all=True, append_images=[Image.new("RGB", (64, 48), "red")])


# WebP by hand


def webp(image: Image.Image | None = None, **options: object) -> bytes:
    return saved(image, "WEBP", **({"lossless": True, "exact": True, "method": 0} | options))


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_claiming(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    pixels = webp()[12:]
    return riff((b"VP8X", bytes(4) + canvas), (pixels[:4], pixels[8:]))


# Colors, metadata


def with_alpha() -> np.ndarray:
    """Uint8 (H, W, 4): left third opaque, middle half transparent, right third fully transparent over loud colors."""
    alpha = np.repeat([255, 128, 0], [22, 21, 21])[None].repeat(48, axis=0)
    return np.concatenate([photo(), alpha[..., None].astype(np.uint8)], axis=-1)


def palette_png(transparency: bytes | int | None) -> bytes:
    image = Image.fromarray((photo()[..., 0] // 64).astype(np.uint8), "P")
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 90, 90, 90])
    return saved(image, transparency=transparency) if transparency is not None else saved(image)


def exif(orientation: int, *, gps: bool = False) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    if gps:
        block.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 36.0)})
    return block.tobytes()


def rotated_png(orientation: int) -> bytes:
    return saved(exif=exif(orientation))


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


P3_TO_XYZ = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
"""Display-P3 primaries as seen under D50, the columns red, green and blue."""


def p3_profile() -> bytes:
    """A minimal ICC profile: Display-P3 primaries with sRGB's curve."""
    curve = struct.pack(">4sIHH5i", b"para", 0, 3, 0, *_fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
    primaries = {name: _xyz(*P3_TO_XYZ[:, index]) for index, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return icc_profile(b"RGB ", primaries | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def linear_gray_profile() -> bytes:
    return icc_profile(b"GRAY", {b"kTRC": struct.pack(">4sIHHi", b"para", 0, 0, 0, *_fixed(1.0))})


def icc_profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    white = _xyz(0.9642, 1.0, 0.8249)
    tags = tags | {b"wtpt": white, b"desc": _text("made by hand"), b"cprt": _text("none")}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    layout = ">I4xI4s4s4s12x4s28x12s48x"
    header = struct.pack(layout, start + len(body), 0x04200000, b"mntr", space, b"XYZ ", b"acsp", white[8:])
    return header + struct.pack(">I", len(tags)) + table + body


def _fixed(*numbers: float) -> list[int]:
    return [round(number * 65536) for number in numbers]


def _xyz(*numbers: float) -> bytes:
    return struct.pack(">4sI3i", b"XYZ ", 0, *_fixed(*numbers))


def _text(text: str) -> bytes:
    return struct.pack(">4sIII2s2sII", b"mluc", 0, 1, 12, b"en", b"US", 2 * len(text), 28) + text.encode("utf-16-be")


# Other formats


def frames() -> list[Image.Image]:
    return [Image.fromarray(np.roll(photo(), 8 * index, axis=1)) for index in range(3)]


def animation(kind: str) -> bytes:
    first, *others = frames()
    return saved(first, kind, save_all=True, append_images=others, duration=100)


def photoshop() -> bytes:
    return struct.pack(">4sH6sHIIHH", b"8BPS", 1, bytes(6), 3, 48, 64, 8, 3) + bytes(14) + photo().tobytes()


def svg() -> bytes:
    return b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><script/></svg>'


def zip_archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("payload.html", "<script>alert(1)</script>")
    return file.getvalue()


def read_pixels(data):
    """Pixels as integers 0 to 255, (H, W, 3), and what was done."""
    tensor, facts = decode(data)
    pixels = tensor[0].permute(1, 2, 0).numpy().astype(np.float64) * 255
    assert np.abs(pixels - pixels.round()).max() < 1e-4
    return pixels.round().astype(int), facts
