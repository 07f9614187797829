import struct

import numpy as np
import pytest
from hostile_files import ACCEPTED
from image_builders import (
    P3_TO_XYZ,
    chunk,
    cmyk,
    cmyk_jpeg,
    cmyk_jpeg_without_adobe,
    exif,
    interlaced_png,
    jpeg,
    linear_gray_profile,
    mpo,
    p3_profile,
    palette_png,
    photo,
    photo16,
    photo_png,
    png,
    png16_gray,
    png16_rgb,
    rows,
    saved,
    segment,
    srgb_profile,
    webp,
    with_alpha,
    with_segments,
)
from PIL import Image

from models.images import decode

SRGB_TO_XYZ = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def read(data):
    """Pixels as integers 0 to 255, (H, W, 3), and what was done."""
    tensor, facts = decode(data)
    pixels = tensor[0].permute(1, 2, 0).numpy().astype(np.float64) * 255
    assert np.abs(pixels - pixels.round()).max() < 1e-4
    return pixels.round().astype(int), facts


def on_white(colors, alpha):
    return (colors * (alpha / 255.0) + 255 * (1 - alpha / 255.0)).round().astype(int)


def gray3(levels):
    return np.repeat(levels[..., None], 3, axis=2).astype(int)


def linear(levels):
    levels = levels / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def encoded(light):
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("data", [saved(), webp(), interlaced_png(), ACCEPTED["PNG with a ZIP archive appended"]()])
def test_lossless_files_give_their_exact_pixels(data):
    pixels, facts = read(data)
    assert np.array_equal(pixels, photo())
    assert (facts.mode, facts.conversions) == ("RGB", ())


def test_sixteen_bits_are_cut_to_the_high_byte():
    pixels, facts = read(png16_rgb())
    assert np.array_equal(pixels, photo())
    assert (facts.mode, facts.conversions) == ("16-bit RGB", ("16-bit-to-8-bit",))
    pixels, facts = read(png16_gray())
    assert np.array_equal(pixels, gray3(photo()[..., 0]))
    assert (facts.mode, facts.conversions) == ("16-bit gray", ("16-bit-to-8-bit", "gray-to-rgb"))


def test_sixteen_bits_with_alpha_are_cut_and_composited():
    alpha = np.full((48, 64, 1), 0x8000, np.uint16)
    pixels, facts = read(png((64, 48), 16, 6, rows(np.concatenate([photo16(), alpha], axis=2))))
    assert np.abs(pixels - on_white(photo(), 128)).max() <= 1
    assert (facts.mode, facts.conversions) == ("16-bit RGBA", ("16-bit-to-8-bit", "alpha-on-white"))


@pytest.mark.parametrize("build", [saved, webp])
def test_alpha_is_composited_on_white(build):
    source = with_alpha()
    pixels, facts = read(build(Image.fromarray(source)))
    assert np.abs(pixels - on_white(source[..., :3], source[..., 3:])).max() <= 1
    assert np.array_equal(pixels[:, :22], source[:, :22, :3])
    assert (pixels[:, 43:] == 255).all()
    assert (facts.mode, facts.conversions) == ("RGBA", ("alpha-on-white",))


def test_gray_with_alpha_is_composited_on_white():
    image = Image.fromarray(with_alpha()).convert("LA")
    pixels, facts = read(saved(image))
    source = np.asarray(image)
    assert np.abs(pixels - gray3(on_white(source[..., 0], source[..., 1]))).max() <= 1
    assert (facts.mode, facts.conversions) == ("gray with alpha", ("gray-to-rgb", "alpha-on-white"))


def test_a_palette_gives_its_colors_and_its_transparency():
    colors = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [90, 90, 90]])
    indices = photo()[..., 0] // 64
    pixels, facts = read(palette_png(None))
    assert np.array_equal(pixels, colors[indices])
    assert facts.conversions == ("palette-to-rgb",)
    for transparency, alpha in ((bytes([255, 128, 0]), [255, 128, 0, 255]), (1, [255, 0, 255, 255])):
        pixels, facts = read(palette_png(transparency))
        assert np.abs(pixels - on_white(colors, np.array(alpha)[:, None])[indices]).max() <= 1
        assert facts.conversions == ("palette-to-rgb", "alpha-on-white")


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_gray_is_found_at_every_depth(depth):
    top = 2**depth - 1
    levels = (photo()[..., 0].astype(np.uint32) * top // 255).astype(np.uint16 if depth == 16 else np.uint8)
    key = int(levels[20, 30])
    pixels, facts = read(png((64, 48), depth, 0, rows(levels, depth), chunk(b"tRNS", struct.pack(">H", key))))
    expected = levels >> 8 if depth == 16 else levels.astype(int) * 255 // top
    assert np.array_equal(pixels, gray3(np.where(levels == key, 255, expected)))
    assert facts.conversions[-1] == "alpha-on-white"


def test_a_transparent_color_is_found_and_only_that_color():
    key = photo()[20, 30]
    pixels, facts = read(photo_png(chunk(b"tRNS", struct.pack(">3H", *key))))
    is_key = (photo() == key).all(axis=2, keepdims=True)
    assert np.array_equal(pixels, np.where(is_key, 255, photo()))
    assert facts.conversions == ("alpha-on-white",)


def test_a_transparent_color_of_sixteen_bits_is_left_out_and_said_so():
    data = png((64, 48), 16, 2, rows(photo16()), chunk(b"tRNS", struct.pack(">3H", *photo16()[20, 30])))
    pixels, facts = read(data)
    assert np.array_equal(pixels, photo())
    assert facts.conversions == ("16-bit-to-8-bit", "transparency-ignored")


@pytest.mark.parametrize("build", [cmyk_jpeg, cmyk_jpeg_without_adobe])
def test_ink_becomes_light_with_and_without_adobes_inversion(build):
    ink = cmyk().astype(float)
    pixels, facts = read(build())
    assert np.abs(pixels - (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255).max() <= 6
    assert (facts.mode, facts.conversions) == ("CMYK", ("cmyk-to-rgb",))


@pytest.mark.parametrize("build", [saved, jpeg, webp])
def test_an_srgb_profile_changes_no_pixel(build):
    pixels, facts = read(build(icc_profile=srgb_profile()))
    assert np.array_equal(pixels, read(build())[0])
    assert facts.conversions == ()


@pytest.mark.parametrize("build", [saved, jpeg, webp])
def test_a_wide_gamut_profile_is_converted_as_the_formulas_say(build):
    pixels, facts = read(build(icc_profile=p3_profile()))
    light = linear(read(build())[0].astype(float)) @ P3_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T
    assert np.abs(pixels - encoded(light)).max() <= 2
    assert np.abs(pixels - read(build())[0]).max() > 15
    assert facts.conversions == ("icc-to-srgb",)


def test_a_gray_profile_is_converted():
    gray = Image.fromarray(photo()).convert("L")
    pixels, facts = read(saved(gray, icc_profile=linear_gray_profile()))
    assert np.abs(pixels - gray3(encoded(np.asarray(gray) / 255.0).round())).max() <= 2
    assert facts.conversions == ("gray-to-rgb", "icc-to-srgb")


def test_a_gray_picture_may_have_an_rgb_profile():
    gray = Image.fromarray(photo()).convert("L")
    pixels, facts = read(saved(gray, icc_profile=srgb_profile()))
    assert np.array_equal(pixels, gray3(np.asarray(gray)))
    assert facts.conversions == ("gray-to-rgb",)


def test_transparency_and_a_profile_go_together():
    source = with_alpha()
    pixels, facts = read(saved(Image.fromarray(source), icc_profile=p3_profile()))
    assert np.array_equal(pixels[:, :22], read(saved(icc_profile=p3_profile()))[0][:, :22])
    assert (pixels[:, 43:] == 255).all()
    assert facts.conversions == ("icc-to-srgb", "alpha-on-white")


@pytest.mark.parametrize(
    "data",
    [
        saved(icc_profile=b"\0" * 200),
        saved(icc_profile=p3_profile()[:300]),
        saved(icc_profile=linear_gray_profile()),
        photo_png(chunk(b"iCCP", b"icc\0\0not zlib")),
        photo_png(chunk(b"iCCP", b"")),
    ],
    ids=["zeros", "cut", "of another color space", "not compressed", "nothing"],
)
def test_a_profile_that_cannot_be_used_is_left_out_and_said_so(data):
    pixels, facts = read(data)
    assert np.array_equal(pixels, photo())
    assert facts.conversions == ("icc-ignored",)


def test_a_profile_with_a_missing_piece_is_left_out_and_said_so():
    data = with_segments(jpeg(), segment(0xE2, b"ICC_PROFILE\0\2\2" + p3_profile()))
    assert read(data)[1].conversions == ("icc-ignored",)


def test_a_profile_in_two_pieces_is_joined_in_their_order():
    profile = p3_profile()
    pieces = [b"ICC_PROFILE\0\2\2" + profile[200:], b"ICC_PROFILE\0\1\2" + profile[:200]]
    pixels, facts = read(with_segments(jpeg(), *(segment(0xE2, piece) for piece in pieces)))
    assert np.array_equal(pixels, read(jpeg(icc_profile=profile))[0])
    assert facts.conversions == ("icc-to-srgb",)


SRGB = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
"""White, red, green and blue as a PNG file tells them: x and y, times 100,000."""
ADOBE_RGB = (31_270, 32_900, 64_000, 33_000, 21_000, 71_000, 15_000, 6_000)


@pytest.mark.parametrize(
    ("chunks", "remarks"),
    [
        ([chunk(b"gAMA", struct.pack(">I", 100_000))], ("gamma-ignored",)),
        ([chunk(b"gAMA", struct.pack(">I", 45_455))], ()),
        ([chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"sRGB", b"\0")], ()),
        ([chunk(b"cHRM", struct.pack(">8I", *SRGB))], ()),
        ([chunk(b"cHRM", struct.pack(">8I", *ADOBE_RGB))], ("primaries-ignored",)),
        ([chunk(b"cHRM", struct.pack(">8I", *ADOBE_RGB)), chunk(b"sRGB", b"\0")], ()),
        ([chunk(b"cHRM", b"short")], ()),
        ([chunk(b"cICP", bytes([9, 16, 0, 1]))], ("cicp-ignored",)),
        ([chunk(b"cICP", bytes([1, 13, 0, 1]))], ()),
    ],
)
def test_other_statements_about_color_are_named_when_ignored(chunks, remarks):
    pixels, facts = read(photo_png(*chunks))
    assert np.array_equal(pixels, photo())
    assert facts.conversions == remarks


def test_text_cannot_pose_as_facts():
    pixels, facts = read(ACCEPTED["PNG with text chunks named like Pillow's facts"]())
    assert np.array_equal(pixels, photo())
    assert facts.conversions == ()


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
    pixels, facts = read(build(exif=exif(orientation)))
    assert np.array_equal(pixels, UPRIGHT[orientation](read(build())[0]))
    assert facts.conversions == (() if orientation == 1 else (f"exif-orientation-{orientation}",))


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_exif_orientation_is_read_in_both_byte_orders(order):
    tiff = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    assert read(photo_png(chunk(b"eXIf", tiff)))[1].conversions == ("exif-orientation-6",)


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
    pixels, facts = read(photo_png(chunk(b"eXIf", block)))
    assert np.array_equal(pixels, UPRIGHT[6](photo()))
    assert facts.conversions == (*said, "exif-orientation-6")
    assert read(saved(icc_profile=srgb_profile(), exif=block))[1].conversions == ("exif-orientation-6",)
    assert read(photo_png(chunk(b"eXIf", block[:-6])))[1].conversions == ("exif-orientation-6",), "cut off after it"


@pytest.mark.parametrize("block", [b"nonsense", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_an_exif_block_that_cannot_be_read_is_left_out_and_said_so(block):
    pixels, facts = read(photo_png(chunk(b"eXIf", block)))
    assert np.array_equal(pixels, photo())
    assert facts.conversions == ("exif-ignored",)


def test_of_several_pictures_the_first_is_read_and_said_so():
    pixels, facts = read(mpo())
    assert np.array_equal(pixels, read(jpeg())[0])
    assert facts.conversions == ("mpo-first-picture",)
