"""A file of a kind that is not read is told what it is."""

import io

import numpy as np
import pytest
from known_photographs import pixels
from PIL import Image, features

from models.images import ImageLimits, UnsupportedImageError, decode

KINDS = {
    "GIF": "GIF",
    "TIFF": "TIFF",
    "BMP": "BMP",
    "JPEG2000": "JPEG 2000",
    "ICO": "an icon",
    "QOI": "QOI",
    "AVIF": "AVIF",
}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_other_formats_are_named(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels("chelsea")[:64, :64])).save(file, kind)
    with pytest.raises(UnsupportedImageError, match=f"not a PNG, JPEG or WebP image; it is {KINDS[kind]}"):
        decode(file.getvalue(), ImageLimits())


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "HEIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "an MP4 movie"),
        (b"%PDF-1.7\n", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    ],
)
def test_what_is_often_sent_instead_of_a_picture_is_named_too(data, kind):
    with pytest.raises(UnsupportedImageError, match=f"; it is {kind}"):
        decode(data, ImageLimits())


@pytest.mark.parametrize("data", [b"\0" * 40, b"hello", b'<?xml version="1.0"?><note/>'])
def test_nothing_is_claimed_of_what_is_not_known(data):
    with pytest.raises(UnsupportedImageError) as told:
        decode(data, ImageLimits())
    assert "it is" not in str(told.value)
