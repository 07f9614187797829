"""What an EXIF block says of a picture: which way is up, and that its colors are not those of sRGB."""

import struct

import numpy as np
import pytest
from image_builders import (
    chunk,
    exif,
    jpeg,
    photo,
    photo_png,
    read_pixels,
    saved,
    srgb_profile,
    webp,
)

UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("build", [saved, webp, jpeg])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_exif_orientation_is_applied(orientation, build):
    pixels, facts = read_pixels(build(exif=exif(orientation)))
    assert np.array_equal(pixels, UPRIGHT[orientation](read_pixels(build())[0]))
    assert facts.conversions == (() if orientation == 1 else (f"exif-orientation-{orientation}",))


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_exif_orientation_is_read_in_both_byte_orders(order):
    tiff = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    assert read_pixels(photo_png(chunk(b"eXIf", tiff)))[1].conversions == ("exif-orientation-6",)


def exif_of_color_space(number: int, order: str = "<") -> bytes:
    tiff = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    tiff += struct.pack(f"{order}HHHIHHHHII", 2, 0x0112, 3, 1, 6, 0, 0x8769, 4, 1, 38)
    return tiff + bytes(4) + struct.pack(f"{order}HHHIHH", 1, 0xA001, 3, 1, number, 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("number", "said"), [(1, ()), (2, ("exif-color-space-ignored",)), (65535, ("exif-color-space-ignored",))]
)
def test_a_camera_set_to_other_colors_that_adds_no_profile_is_read_as_srgb_and_said_so(number, said, order):
    block = exif_of_color_space(number, order)
    pixels, facts = read_pixels(photo_png(chunk(b"eXIf", block)))
    assert np.array_equal(pixels, UPRIGHT[6](photo()))
    assert facts.conversions == (*said, "exif-orientation-6")
    assert read_pixels(saved(icc_profile=srgb_profile(), exif=block))[1].conversions == ("exif-orientation-6",)
    assert read_pixels(photo_png(chunk(b"eXIf", block[:-6])))[1].conversions == ("exif-orientation-6",), (
        "cut off after it"
    )


@pytest.mark.parametrize("block", [b"nonsense", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_an_exif_block_that_cannot_be_read_is_left_out_and_said_so(block):
    pixels, facts = read_pixels(photo_png(chunk(b"eXIf", block)))
    assert np.array_equal(pixels, photo())
    assert facts.conversions == ("exif-ignored",)
