"""What an image file is that is not read here, so that whoever sent it knows what to convert."""

_BRANDS = {
    b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"heis": "HEIC",
    b"hevc": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF",
    b"avif": "AVIF", b"avis": "AVIF", b"qt  ": "a QuickTime movie", b"crx ": "a Canon raw file",
}  # fmt: skip
"""Major brands of ISO base media files (ISO/IEC 14496-12)."""

_BEGINNINGS = (
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF, or a raw file of a camera"),
    (b"MM\0*", "TIFF, or a raw file of a camera"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"BM", "BMP"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\x01\0", "an icon"),
    (b"qoif", "QOI"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"%PDF-", "PDF"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM movie"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)
_TEXT_SHOWN = 256


def kind_of(data: bytes) -> str | None:
    """Return what a file is by its first bytes, in words that follow "it is"; None where nothing known begins so."""
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "an MP4 movie or similar")
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning):
            return kind
    text = data[:_TEXT_SHOWN].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in data[:4096].lower()):
        return "SVG"
    return "an HTML page" if text.startswith((b"<!doctype html", b"<html")) else None
