"""Colors: whatever a file holds becomes 8-bit sRGB, and what was done is said."""

import io
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageCms

from models.image_files.header import Header

BACKGROUND = (255, 255, 255)
"""What shows through transparent pixels: white, as on a page."""
SRGB_TOLERANCE = 2
"""A profile that moves no probe color by more than this many levels of 255 is sRGB, and the pixels stay as they are."""

_BASE = {"1": "L", "L": "L", "I;16": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}
_STEP = {"1": "gray-to-rgb", "L": "gray-to-rgb", "I;16": "gray-to-rgb", "LA": "gray-to-rgb",
         "P": "palette-to-rgb", "CMYK": "cmyk-to-rgb"}  # fmt: skip
_PROFILE_MODES = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}
# Relative colorimetric with black-point compensation: colors that sRGB has come out exact, black stays black.
_INTENT, _FLAGS = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION


class Profile(NamedTuple):
    """A way from an embedded color profile to sRGB."""

    mode: str
    """Pillow mode of the pixels that the profile is for: L, RGB or CMYK."""
    transform: ImageCms.ImageCmsTransform
    is_srgb: bool


class ColorPlan(NamedTuple):
    """How the colors of a file become sRGB."""

    conversions: tuple[str, ...]
    profile: Profile | None
    """None: the pixels are taken as sRGB, or as plain ink for CMYK."""


def plan_colors(image: Image.Image, header: Header) -> ColorPlan:
    """Decide what to do with an opened picture; no pixel is needed for that."""
    steps = ["16-bit-to-8-bit"] if header.depth == 16 else []
    if image.mode in _STEP:
        steps.append(_STEP[image.mode])
    profile = None
    if header.icc is not None:
        try:
            profile = _profile(header.icc, _BASE[image.mode])
        except (OSError, ValueError, ImageCms.PyCMSError):
            steps.append("icc-ignored")
        else:
            steps += [] if profile.is_srgb else ["icc-to-srgb"]
    has_key = "transparency" in image.info
    if has_key and _is_key_lost(image, header):
        steps.append("transparency-ignored")
    elif has_key or image.mode in {"LA", "RGBA"}:
        steps.append("alpha-on-white")
    return ColorPlan(tuple(steps), profile)


def to_srgb(image: Image.Image, header: Header, plan: ColorPlan) -> Image.Image:
    """Return a loaded picture as 8-bit sRGB, Pillow mode RGB, of the same size."""
    colors, alpha = _split(image, header)
    if plan.profile and not plan.profile.is_srgb:
        colors = _transformed(colors.convert(plan.profile.mode), plan.profile.transform)
    colors = colors if colors.mode == "RGB" else colors.convert("RGB")
    if alpha is None:
        return colors
    page = Image.new("RGB", colors.size, BACKGROUND)
    page.paste(colors, mask=alpha)
    return page


def _split(image: Image.Image, header: Header) -> tuple[Image.Image, Image.Image | None]:
    """Return the colors, mode L, RGB or CMYK, and the alpha channel, mode L, if there is one."""
    key = image.info.get("transparency")
    if image.mode == "P":
        image, key = image.convert("RGB" if key is None else "RGBA"), None
    if image.mode in {"LA", "RGBA"}:
        return image.convert(_BASE[image.mode]), image.getchannel("A")
    if image.mode == "CMYK":
        return image if header.inverted else ImageChops.invert(image), None
    alpha = None if key is None or _is_key_lost(image, header) else _alpha_of_key(image, header.depth, key)
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image, alpha


def _is_key_lost(image: Image.Image, header: Header) -> bool:
    """Pillow keeps 8 of the 16 bits of RGB: too few to tell which pixels have the transparent color."""
    return header.depth == 16 and image.mode == "RGB"


def _alpha_of_key(image: Image.Image, depth: int, key: int | tuple[int, int, int]) -> Image.Image:
    pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
    if isinstance(key, tuple):
        opaque = (pixels != np.array(key)).any(axis=2)
    else:  # Pillow stretches 2 and 4 bits of gray to 8 but leaves the key as it is
        opaque = pixels != (key * 255 // (2**depth - 1) if 1 < depth < 8 else key)
    return Image.fromarray(opaque.astype(np.uint8) * 255)


@lru_cache(maxsize=8)
def _profile(icc: bytes, base: str) -> Profile:
    """Return the way to sRGB for pixels of mode `base`. Raises OSError, ValueError or PyCMSError if there is none."""
    mode = _PROFILE_MODES.get(icc[16:20])
    if mode is None or (base, mode) not in {(base, base), ("L", "RGB")}:
        raise ValueError(f"a profile for {icc[16:20]!r} does not fit {base} pixels")
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", _INTENT, _FLAGS)
    return Profile(mode, transform, mode != "CMYK" and _is_identity(transform, mode))


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    levels = np.arange(256, dtype=np.uint8)[None]
    if mode == "RGB":
        grid = np.stack(np.meshgrid(*[levels[0, ::17]] * 3), axis=-1).reshape(16, 256, 3)
        levels = np.concatenate([grid, np.repeat(levels[..., None], 3, axis=2)])
    probe = Image.fromarray(levels)
    moved = np.asarray(_transformed(probe, transform)).astype(int) - np.asarray(probe.convert("RGB"))
    return bool(np.abs(moved).max() <= SRGB_TOLERANCE)


def _transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    result = ImageCms.applyTransform(image, transform)
    if result is None:
        raise ValueError("the color transform returned no image")
    return result
