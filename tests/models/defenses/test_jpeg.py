import io

import numpy as np
import pytest
import torch
from PIL import Image

from models.defense import PurificationError
from models.defenses.jpeg import Jpeg

PILLOW_SAMPLING = {"4:4:4": 0, "4:2:0": 2}


def by_pillow(pixels, quality, subsampling):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=PILLOW_SAMPLING[subsampling])
    return np.asarray(Image.open(file)), len(file.getvalue())


def pixels_of(image):
    return (image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("quality", [1, 10, 50, 90, 100])
def test_the_image_is_the_one_another_program_gets(quality, subsampling, photo, picture):
    # Two builds of libjpeg may round differently by a level.
    expected, _ = by_pillow(photo, quality, subsampling)
    actual = pixels_of(Jpeg(quality=quality, subsampling=subsampling)(picture))
    difference = np.abs(actual.astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.01


def test_the_papers_channel_order_trades_the_weights_of_red_and_blue(photo, picture):
    expected, _ = by_pillow(np.ascontiguousarray(photo[..., ::-1]), 50, "4:2:0")
    actual = pixels_of(Jpeg(channel_order="bgr")(picture))
    assert np.abs(actual.astype(int) - expected[..., ::-1]).max() <= 2
    assert np.abs(actual.astype(int) - pixels_of(Jpeg()(picture))).mean() > 1


def test_values_are_rounded_to_the_nearest_level_or_cut_off():
    gray = torch.full((1, 3, 16, 16), 100.6 / 255)
    assert (pixels_of(Jpeg(quality=100)(gray)) == 101).all()
    assert (pixels_of(Jpeg(quality=100, rounding="down")(gray)) == 100).all()


def test_a_better_quality_is_nearer_to_the_image(picture):
    errors = [(Jpeg(quality=quality)(picture) - picture).abs().mean() for quality in (5, 20, 50, 80, 100)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.03


def test_an_image_longer_than_a_jpeg_file_can_be_is_refused_with_its_size():
    with pytest.raises(PurificationError, match="65501x16 pixels"):
        Jpeg()(torch.zeros(1, 3, 16, 65_501))
