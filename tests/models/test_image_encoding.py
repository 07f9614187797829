import io

import numpy as np
import pytest
import torch
from image_builders import photo
from PIL import Image

from models.images import ImageFormat, decode, encode


def tensor(array):
    return torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float().div(255)


@pytest.mark.parametrize("form", [ImageFormat.PNG, ImageFormat.WEBP])
def test_lossless_formats_return_every_8_bit_value_exactly(form):
    levels = torch.arange(256, dtype=torch.float32).div(255).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    for images in (levels, tensor(photo()), torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)):
        assert torch.equal(decode(encode(images, form))[0], images)


@pytest.mark.parametrize("form", [ImageFormat.PNG, ImageFormat.WEBP])
def test_halves_are_rounded_up(form):
    values = torch.tensor([0.49, 0.5, 100.49, 100.5, 254.49, 254.5]).div(255)
    images = values.repeat(48)[: 16 * 16].reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    expected = torch.tensor([0.0, 1, 100, 101, 254, 255]).repeat(48)[: 16 * 16].reshape(16, 16)
    assert torch.equal(decode(encode(images, form))[0][0, 1].mul(255).round(), expected)


def test_jpeg_is_close_and_keeps_full_chroma():
    checks = np.zeros((32, 32, 3), np.uint8)
    checks[..., 0], checks[..., 2] = np.indices((32, 32)).sum(0) % 2 * 255, np.indices((32, 32))[1] % 2 * 255
    for array, tolerance in ((photo(), 8), (checks, 24)):
        written = encode(tensor(array), ImageFormat.JPEG)
        assert (decode(written)[0] - tensor(array)).abs().mean() * 255 < tolerance
    with Image.open(io.BytesIO(written)) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("form", ImageFormat)
def test_the_batch_axis_may_be_left_out_and_the_bytes_are_the_same_every_time(form):
    images = tensor(photo())
    assert encode(images, form) == encode(images[0], form) == encode(images.requires_grad_(), form)


def test_formats_know_their_media_type_and_suffix():
    assert [(form.media_type, form.suffix) for form in ImageFormat] == [
        ("image/png", ".png"),
        ("image/webp", ".webp"),
        ("image/jpeg", ".jpg"),
    ]
    for form in ImageFormat:
        assert decode(encode(tensor(photo()), form))[1].format is form


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 16, 16),
        torch.zeros(1, 1, 16, 16),
        torch.zeros(16, 16),
        torch.zeros(1, 3, 0, 16),
        torch.zeros(1, 3, 16, 16, dtype=torch.float64),
        torch.full((1, 3, 16, 16), 1.01),
        torch.full((1, 3, 16, 16), -0.01),
        torch.full((1, 3, 16, 16), torch.nan),
    ],
)
def test_what_is_not_one_image_is_refused(images):
    with pytest.raises(ValueError, match="image"):
        encode(images, ImageFormat.PNG)


@pytest.mark.parametrize(("form", "side"), [(ImageFormat.WEBP, 16_384), (ImageFormat.JPEG, 65_501)])
def test_a_side_that_a_format_cannot_hold_is_refused(form, side):
    with pytest.raises(ValueError, match="holds sides up to"):
        encode(torch.zeros(1, 3, 16, side), form)
    assert decode(encode(torch.zeros(1, 3, 16, 16_383), form))[1].width == 16_383
