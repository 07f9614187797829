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
    read_pixels,
    rows,
    saved,
    segment,
    srgb_profile,
    webp,
    with_alpha,
    with_segments,
)
from PIL import Image

SRGB_TO_XYZ = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


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
    pixels, facts = read_pixels(data)
    assert np.array_equal(pixels, photo())
    assert (facts.mode, facts.conversions) == ("RGB", ())


def test_sixteen_bits_are_cut_to_the_high_byte():
    pixels, facts = read_pixels(png16_rgb())
    assert np.array_equal(pixels, photo())
    assert (facts.mode, facts.conversions) == ("16-bit RGB", ("16-bit-to-8-bit",))
    pixels, facts = read_pixels(png16_gray())
    assert np.array_equal(pixels, gray3(photo()[..., 0]))
    assert (facts.mode, facts.conversions) == ("16-bit gray", ("16-bit-to-8-bit", "gray-to-rgb"))


def test_sixteen_bits_with_alpha_are_cut_and_composited():
    alpha = np.full((48, 64, 1), 0x8000, np.uint16)
    pixels, facts = read_pixels(png((64, 48), 16, 6, rows(np.concatenate([photo16(), alpha], axis=2))))
    assert np.abs(pixels - on_white(photo(), 128)).max() <= 1
    assert (facts.mode, facts.conversions) == ("16-bit RGBA", ("16-bit-to-8-bit", "alpha-on-white"))


@pytest.mark.parametrize("build", [saved, webp])
def test_alpha_is_composited_on_white(build):
    source = with_alpha()
    pixels, facts = read_pixels(build(Image.fromarray(source)))
    assert np.abs(pixels - on_white(source[..., :3], source[..., 3:])).max() <= 1
    assert np.array_equal(pixels[:, :22], source[:, :22, :3])
    assert (pixels[:, 43:] == 255).all()
    assert (facts.mode, facts.conversions) == ("RGBA", ("alpha-on-white",))


def test_gray_with_alpha_is_composited_on_white():
    image = Image.fromarray(with_alpha()).convert("LA")
    pixels, facts = read_pixels(saved(image))
    source = np.asarray(image)
    assert np.abs(pixels - gray3(on_white(source[..., 0], source[..., 1]))).max() <= 1
    assert (facts.mode, facts.conversions) == ("gray with alpha", ("gray-to-rgb", "alpha-on-white"))


def test_a_palette_gives_its_colors_and_its_transparency():
    colors = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [90, 90, 90]])
    indices = photo()[..., 0] // 64
    pixels, facts = read_pixels(palette_png(None))
    assert np.array_equal(pixels, colors[indices])
    assert facts.conversions == ("palette-to-rgb",)
    for transparency, alpha in ((bytes([255, 128, 0]), [255, 128, 0, 255]), (1, [255, 0, 255, 255])):
        pixels, facts = read_pixels(palette_png(transparency))
        assert np.abs(pixels - on_white(colors, np.array(alpha)[:, None])[indices]).max() <= 1
        assert facts.conversions == ("palette-to-rgb", "alpha-on-white")


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_gray_is_found_at_every_depth(depth):
    top = 2**depth - 1
    levels = (photo()[..., 0].astype(np.uint32) * top // 255).astype(np.uint16 if depth == 16 else np.uint8)
    key = int(levels[20, 30])
    pixels, facts = read_pixels(png((64, 48), depth, 0, rows(levels, depth), chunk(b"tRNS", struct.pack(">H", key))))
    expected = levels >> 8 if depth == 16 else levels.astype(int) * 255 // top
    assert np.array_equal(pixels, gray3(np.where(levels == key, 255, expected)))
    assert facts.conversions[-1] == "alpha-on-white"


def test_a_transparent_color_is_found_and_only_that_color():
    key = photo()[20, 30]
    pixels, facts = read_pixels(photo_png(chunk(b"tRNS", struct.pack(">3H", *key))))
    is_key = (photo() == key).all(axis=2, keepdims=True)
    assert np.array_equal(pixels, np.where(is_key, 255, photo()))
    assert facts.conversions == ("alpha-on-white",)


def test_a_transparent_color_of_sixteen_bits_is_left_out_and_said_so():
    data = png((64, 48), 16, 2, rows(photo16()), chunk(b"tRNS", struct.pack(">3H", *photo16()[20, 30])))
    pixels, facts = read_pixels(data)
    assert np.array_equal(pixels, photo())
    assert facts.conversions == ("16-bit-to-8-bit", "transparency-ignored")


@pytest.mark.parametrize("build", [cmyk_jpeg, cmyk_jpeg_without_adobe])
def test_ink_becomes_light_with_and_without_adobes_inversion(build):
    ink = cmyk().astype(float)
    pixels, facts = read_pixels(build())
    assert np.abs(pixels - (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255).max() <= 6
    assert (facts.mode, facts.conversions) == ("CMYK", ("cmyk-to-rgb",))


@pytest.mark.parametrize("build", [saved, jpeg, webp])
def test_an_srgb_profile_changes_no_pixel(build):
    pixels, facts = read_pixels(build(icc_profile=srgb_profile()))
    assert np.array_equal(pixels, read_pixels(build())[0])
    assert facts.conversions == ()


@pytest.mark.parametrize("build", [saved, jpeg, webp])
def test_a_wide_gamut_profile_is_converted_as_the_formulas_say(build):
    pixels, facts = read_pixels(build(icc_profile=p3_profile()))
    light = linear(read_pixels(build())[0].astype(float)) @ P3_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T
    assert np.abs(pixels - encoded(light)).max() <= 2
    assert np.abs(pixels - read_pixels(build())[0]).max() > 15
    assert facts.conversions == ("icc-to-srgb",)


def test_a_gray_profile_is_converted():
    gray = Image.fromarray(photo()).convert("L")
    pixels, facts = read_pixels(saved(gray, icc_profile=linear_gray_profile()))
    assert np.abs(pixels - gray3(encoded(np.asarray(gray) / 255.0).round())).max() <= 2
    assert facts.conversions == ("gray-to-rgb", "icc-to-srgb")


def test_a_gray_picture_may_have_an_rgb_profile():
    gray = Image.fromarray(photo()).convert("L")
    pixels, facts = read_pixels(saved(gray, icc_profile=srgb_profile()))
    assert np.array_equal(pixels, gray3(np.asarray(gray)))
    assert facts.conversions == ("gray-to-rgb",)


def test_transparency_and_a_profile_go_together():
    source = with_alpha()
    pixels, facts = read_pixels(saved(Image.fromarray(source), icc_profile=p3_profile()))
    assert np.array_equal(pixels[:, :22], read_pixels(saved(icc_profile=p3_profile()))[0][:, :22])
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
    pixels, facts = read_pixels(data)
    assert np.array_equal(pixels, photo())
    assert facts.conversions == ("icc-ignored",)


def test_a_profile_with_a_missing_piece_is_left_out_and_said_so():
    data = with_segments(jpeg(), segment(0xE2, b"ICC_PROFILE\0\2\2" + p3_profile()))
    assert read_pixels(data)[1].conversions == ("icc-ignored",)


def test_a_profile_in_two_pieces_is_joined_in_their_order():
    profile = p3_profile()
    pieces = [b"ICC_PROFILE\0\2\2" + profile[200:], b"ICC_PROFILE\0\1\2" + profile[:200]]
    pixels, facts = read_pixels(with_segments(jpeg(), *(segment(0xE2, piece) for piece in pieces)))
    assert np.array_equal(pixels, read_pixels(jpeg(icc_profile=profile))[0])
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
    pixels, facts = read_pixels(photo_png(*chunks))
    assert np.array_equal(pixels, photo())
    assert facts.conversions == remarks


def test_text_cannot_pose_as_facts():
    pixels, facts = read_pixels(ACCEPTED["PNG with text chunks named like Pillow's facts"]())
    assert np.array_equal(pixels, photo())
    assert facts.conversions == ()


def test_of_several_pictures_the_first_is_read_and_said_so():
    pixels, facts = read_pixels(mpo())
    assert np.array_equal(pixels, read_pixels(jpeg())[0])
    assert facts.conversions == ("mpo-first-picture",)
