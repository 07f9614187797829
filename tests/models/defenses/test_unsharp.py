import cv2
import numpy as np
import torch

from models.defenses.unsharp import Unsharp


def test_it_adds_what_a_blur_takes_away(picture):
    image = (0.3 + 0.4 * picture)[0].permute(1, 2, 0).contiguous().numpy()
    expected = image + 0.5 * (image - cv2.GaussianBlur(image, (7, 7), 1.5, borderType=cv2.BORDER_REFLECT_101))
    sharp = Unsharp(kernel=7, sigma=1.5, amount=0.5)(0.3 + 0.4 * picture)
    np.testing.assert_allclose(sharp[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_an_edge_overshoots_on_both_sides_and_stays_in_place():
    step = torch.full((1, 3, 16, 32), 0.3)
    step[..., 16:] = 0.7
    row = Unsharp()(step)[0, 0, 8]
    assert row.argmin() == 15
    assert row.argmax() == 16
    torch.testing.assert_close(row, 1 - row.flip(0), rtol=0, atol=1e-6)


def test_no_amount_is_no_change(picture):
    assert torch.equal(Unsharp(amount=0)(picture), picture)
