"""What goes wrong with photographs: families of distortions, each at five levels that a person would put in this order.

A distortion maps uint8 RGB (H, W, 3) to the same. Level 1 is just visible, level 5 ruins the picture; the levels were
chosen by eye on a photograph of 256 pixels. Chance (angles, noise, lost blocks) comes from the given generator only.
"""

import functools
import io
import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from models.diffusion.ffdnet import FFDNet
from models.diffusion.shipped_denoiser import SHIPPED
from models.diffusion.tiling import pad_to

Pixels = NDArray[np.uint8]
Distortion = Callable[[Pixels, int, np.random.Generator], Pixels]

LEVELS = (1, 2, 3, 4, 5)
FAMILIES: dict[str, Distortion] = {}
"""Every family by name."""


def _family(distortion: Distortion) -> Distortion:
    FAMILIES[distortion.__name__.replace("_", "-")] = distortion
    return distortion


def _to_8_bits(values: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


@functools.cache
def _ffdnet() -> FFDNet:
    return FFDNet.read(SHIPPED / "ffdnet")


def _filtered(image: Pixels, kernel: NDArray[Any]) -> Pixels:
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101), np.uint8)


def _through(image: Pixels, kind: str, **options: Any) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return np.asarray(Image.open(file).convert("RGB"), np.uint8)


@_family
def gaussian_blur(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Gaussian blur; sigma in pixels."""
    sigma = (0.8, 1.3, 2.0, 3.0, 4.5)[level - 1]
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), np.uint8)


@_family
def motion_blur(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """The camera moved along a line; its length in pixels."""
    length = (4, 7, 11, 17, 25)[level - 1]
    angle, side = draw.uniform(0, math.pi), length | 1
    kernel = np.zeros((side, side), np.float32)
    reach = (length - 1) / 2
    ends = [
        (round(side // 2 + sign * reach * math.cos(angle)), round(side // 2 + sign * reach * math.sin(angle)))
        for sign in (-1, 1)
    ]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1)
    return _filtered(image, cv2.GaussianBlur(kernel, (0, 0), 0.4))


@_family
def defocus(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """A lens out of focus; radius of its disk in pixels."""
    radius = (1.3, 2.2, 3.3, 5.0, 7.5)[level - 1]
    reach = math.ceil(radius) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return _filtered(image, np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32))


@_family
def smearing(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Texture taken for noise and removed, by a median; side of the window in pixels."""
    return np.asarray(cv2.medianBlur(image, (3, 5, 7, 11, 15)[level - 1]), np.uint8)


@_family
def white_noise(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Gaussian noise in each channel; sigma of 255."""
    return _to_8_bits(image + (6, 11, 18, 28, 42)[level - 1] * draw.standard_normal(image.shape, np.float32))


@_family
def chroma_noise(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Blotches of color, as small sensors make them at high ISO; sigma of 255."""
    sigma = (8, 14, 22, 32, 46)[level - 1]
    colors = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    noise = cv2.GaussianBlur(draw.standard_normal((*image.shape[:2], 2), np.float32), (0, 0), 1.2)
    colors[..., 1:] += sigma * noise / noise.std()
    return np.asarray(cv2.cvtColor(_to_8_bits(colors), cv2.COLOR_YCrCb2RGB), np.uint8)


@_family
def grain(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Faint grain, as film or a good sensor leaves it: gray or colored, fine or a little coarse; sigma of 255."""
    sigma, gray, coarse = (1.5, 2.5, 4, 6, 9)[level - 1], draw.random() < 0.5, draw.uniform(0.3, 0.8)
    fine = draw.standard_normal((*image.shape[:2], 1 if gray else 3), np.float32)
    noise = np.asarray(cv2.GaussianBlur(fine, (0, 0), coarse)).reshape(fine.shape)
    return _to_8_bits(image + sigma * noise / noise.std())


@_family
def denoising(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Noise, and what a denoiser made of it: a network (FFDNet) or means of similar patches; sigma of 255."""
    sigma, by_network = (4, 8, 14, 22, 35)[level - 1], draw.random() < 0.6
    noisy = image + sigma * draw.standard_normal(image.shape, np.float32)
    if not by_network:
        return np.asarray(cv2.fastNlMeansDenoisingColored(_to_8_bits(noisy), None, sigma, sigma, 5, 15), np.uint8)
    tensor = pad_to(torch.from_numpy(noisy / np.float32(255)).permute(2, 0, 1)[None], 2)
    with torch.no_grad():
        clean = _ffdnet()(tensor, torch.tensor([sigma / 255]))
    return _to_8_bits(255 * clean[0, :, : image.shape[0], : image.shape[1]].permute(1, 2, 0).numpy())


@_family
def impulse_noise(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Dead and hot pixels; the share of values that turn black or white."""
    share = (0.004, 0.01, 0.025, 0.06, 0.13)[level - 1]
    chance = draw.random(image.shape, np.float32)
    return np.where(chance < share / 2, 0, np.where(chance > 1 - share / 2, 255, image)).astype(np.uint8)


@_family
def jpeg(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """JPEG; its quality."""
    return _through(image, "JPEG", quality=(48, 28, 17, 10, 5)[level - 1])


@_family
def webp(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """WebP; its quality."""
    return _through(image, "WEBP", quality=(45, 25, 12, 4, 0)[level - 1])


@_family
def jpeg2000(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """JPEG 2000; how many times smaller than the pixels."""
    ratio = (25, 45, 80, 140, 240)[level - 1]
    return _through(image, "JPEG2000", quality_mode="rates", quality_layers=[ratio])


@_family
def upscaling(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Shrunk and enlarged again; the factor."""
    factor = (1.5, 2.0, 3.0, 4.5, 6.5)[level - 1]
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((round(width / factor), round(height / factor)), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.uint8)


@_family
def stretching(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Few pixels along one axis, as video with squeezed lines or half of its lines has; the factor."""
    factor = (1.5, 2.2, 3.3, 5.0, 8.0)[level - 1]
    size = [image.shape[1], image.shape[0]]
    axis = int(draw.integers(2))
    squeezed = [round(edge / factor) if place == axis else edge for place, edge in enumerate(size)]
    small = Image.fromarray(image).resize(squeezed, Image.Resampling.BICUBIC)
    return np.asarray(small.resize(size, Image.Resampling.BICUBIC), np.uint8)


@_family
def low_contrast(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Haze: values drawn towards a light gray; the contrast that is left."""
    left = (0.75, 0.6, 0.45, 0.32, 0.2)[level - 1]
    return _to_8_bits(150 + left * (image.astype(np.float32) - 150))


@_family
def overexposure(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Too much light, clipped at white; the gain."""
    return _to_8_bits(image.astype(np.float32) * (1.25, 1.55, 1.95, 2.6, 3.6)[level - 1])


@_family
def banding(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Few shades per channel."""
    shades = (20, 12, 8, 5, 3)[level - 1]
    return _to_8_bits(np.rint(image / 255 * (shades - 1)) / (shades - 1) * 255)


@_family
def color_cast(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """A wrong white balance, in a random direction; the shift of chroma, of 255."""
    shift = (12, 20, 30, 42, 58)[level - 1]
    angle = draw.uniform(0, 2 * math.pi)
    colors = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    colors[..., 1:] += shift * np.array([math.cos(angle), math.sin(angle)], np.float32)
    return np.asarray(cv2.cvtColor(_to_8_bits(colors), cv2.COLOR_YCrCb2RGB), np.uint8)


@_family
def oversharpening(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Unsharp masking without measure; its amount."""
    amount = (1.0, 2.0, 3.5, 6.0, 10.0)[level - 1]
    pixels = image.astype(np.float32)
    return _to_8_bits(pixels + amount * (pixels - cv2.GaussianBlur(pixels, (0, 0), 1.2)))


@_family
def ringing(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """A brick-wall low-pass: edges echo; the share of frequencies kept along one axis."""
    kept = (0.5, 0.36, 0.25, 0.17, 0.11)[level - 1]
    reach = [min(side // 2, 32) for side in image.shape[:2]]
    pixels = np.pad(image, ((reach[0],) * 2, (reach[1],) * 2, (0, 0)), "reflect").astype(np.float32)
    spectrum = np.fft.rfft2(pixels, axes=(0, 1))
    y, x = np.fft.fftfreq(pixels.shape[0])[:, None], np.fft.rfftfreq(pixels.shape[1])[None]
    spectrum[np.hypot(y, x) > kept / 2] = 0
    filtered = np.fft.irfft2(spectrum, pixels.shape[:2], axes=(0, 1))
    return _to_8_bits(filtered[reach[0] : -reach[0], reach[1] : -reach[1]])


@_family
def block_loss(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Blocks of 16x16 lost on the way, each filled from somewhere near; the share that is lost."""
    share, result = (0.015, 0.035, 0.07, 0.13, 0.22)[level - 1], image.copy()
    rows, columns = image.shape[0] // 16, image.shape[1] // 16
    lost = draw.choice(rows * columns, max(1, round(share * rows * columns)), replace=False)
    for index in lost:
        top, left = int(index) // columns * 16, int(index) % columns * 16
        shift = draw.integers(-40, 41, 2)
        source = (
            int(np.clip(top + shift[0], 0, image.shape[0] - 16)),
            int(np.clip(left + shift[1], 0, image.shape[1] - 16)),
        )
        patch = image[source[0] : source[0] + 16, source[1] : source[1] + 16]
        result[top : top + 16, left : left + 16] = patch if draw.random() < 0.5 else patch.mean((0, 1))
    return result


def _mixture(first: Distortion, second: Distortion) -> Distortion:
    def mixture(image: Pixels, level: int, draw: np.random.Generator) -> Pixels:
        return second(first(image, level, draw), level, draw)

    mixture.__name__ = f"{first.__name__}_and_{second.__name__}"
    return _family(mixture)


_mixture(gaussian_blur, jpeg)
_mixture(white_noise, webp)
_mixture(low_contrast, white_noise)
_mixture(upscaling, oversharpening)
_mixture(denoising, grain)
