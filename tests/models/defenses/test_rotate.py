import math

import pytest
import torch

from models.defenses.rotate import Rotate, source_grid
from models.noise import Noise


def test_angles_fill_the_range_on_both_sides_evenly():
    drawn = torch.tensor(Rotate(limit=30)._angles(Noise(range(2000))))
    assert drawn.abs().max() <= 30
    assert drawn.abs().max() > 29
    assert abs(drawn.mean()) < 1
    assert abs(drawn.std() - 30 / math.sqrt(3)) < 0.5


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_a_quarter_turn_is_exact_and_counterclockwise(interpolation, picture):
    square = picture[..., :96, :96]
    turned = Rotate(interpolation=interpolation)._turn(square, [90.0])
    torch.testing.assert_close(turned, square.rot90(1, dims=(2, 3)), rtol=0, atol=1e-4)


def test_the_center_stays_where_it_is_for_even_and_odd_sides():
    for size in [(16, 16), (17, 33)]:
        grid = source_grid([37.0], size)[0]
        torch.testing.assert_close(grid, -grid.flip(0, 1), rtol=0, atol=1e-6)


def test_corners_are_filled_by_reflection_or_with_black():
    white = torch.ones(4, 3, 40, 60)
    assert Rotate(limit=90)(white, range(1, 5)).min() > 0.999
    assert (Rotate(limit=90, border="zeros")(white, range(1, 5)).amin(dim=(1, 2, 3)) == 0).all()


def test_the_mask_leaves_out_what_was_turned_off_the_canvas(picture):
    rotate = Rotate(limit=45)
    aligned = rotate.align(rotate(picture, 5), (96, 128), 5)
    lost = ~aligned.valid[0, 0]
    assert lost[0, 0] | lost[0, -1] | lost[-1, 0] | lost[-1, -1]
    assert not lost[40:56, 40:88].any()
    errors = (aligned.images - picture).abs().mean(dim=1)[0]
    assert errors[~lost].mean() < 0.06 < errors[lost].mean()


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_a_pixel_is_valid_exactly_if_nothing_from_beyond_the_canvas_or_the_picture_is_mixed_into_it(interpolation):
    rotate, white = Rotate(limit=45, border="zeros", interpolation=interpolation), torch.ones(5, 3, 40, 61)
    aligned = rotate.align(rotate(white, range(5)), (40, 61), range(5))
    assert aligned.valid.float().mean() > 0.5
    inside = aligned.images[:, :1] > 0.999
    if interpolation == "bilinear":
        assert torch.equal(aligned.valid, inside)
    else:
        assert inside[aligned.valid].all(), "the nearest pixel of one beyond may be one of the picture"
