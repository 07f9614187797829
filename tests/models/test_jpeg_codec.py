import io

import pytest
import torch
from PIL import Image

from models.jpeg_codec import EXACT, POLYNOMIAL, SMOOTH, _cosine_basis, quantization_tables, recode

ZIGZAG = sorted(((y, x) for y in range(8) for x in range(8)), key=lambda at: (sum(at), at[sum(at) % 2]))


@pytest.mark.parametrize("quality", [1, 2, 10, 25, 49, 50, 51, 75, 90, 99, 100])
def test_quantization_tables_are_those_in_a_files_header(quality):
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    header = Image.open(io.BytesIO(file.getvalue())).quantization
    ours = quantization_tables(quality)
    for index in (0, 1):
        assert sorted(ours[index].flatten().tolist()) == sorted(header[index])
        in_rows = ours[index].flatten().tolist()
        in_zigzag = [int(ours[index][at]) for at in ZIGZAG]
        assert list(header[index]) in (in_rows, in_zigzag)  # Pillow has changed the order it reports


def test_the_cosine_basis_is_orthonormal_and_starts_with_the_mean():
    basis = _cosine_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(8), rtol=0, atol=1e-6)
    torch.testing.assert_close(basis[0], torch.full((8,), 8**-0.5))


@pytest.mark.parametrize("size", [(16, 16), (17, 33)])
def test_without_rounding_and_subsampling_the_codec_returns_its_input(size):
    images = torch.rand(2, 3, *size)
    torch.testing.assert_close(recode(images, 10, "4:4:4", SMOOTH), images, rtol=0, atol=1e-4)


def test_subsampling_leaves_brightness_alone():
    gray = torch.rand(1, 1, 17, 33).expand(1, 3, 17, 33)
    torch.testing.assert_close(recode(gray, 10, "4:2:0", SMOOTH), gray, rtol=0, atol=1e-4)
    colors = torch.rand(1, 3, 17, 33)
    assert (recode(colors, 10, "4:2:0", SMOOTH) - colors).abs().mean() > 0.05


def test_polynomial_rounding_is_a_cubic_around_each_integer():
    values = torch.tensor([-1.25, -0.5, 0.0, 0.25, 1.0, 2.75], requires_grad=True)
    rounded = POLYNOMIAL.coefficients(values)
    torch.testing.assert_close(rounded, torch.tensor([-1 - 0.25**3, -0.125, 0.0, 0.25**3, 1.0, 3 - 0.25**3]))
    (gradient,) = torch.autograd.grad(rounded.sum(), values)
    torch.testing.assert_close(gradient, 3 * torch.tensor([0.25, 0.5, 0, 0.25, 0, 0.25]) ** 2)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("rounding", [EXACT, POLYNOMIAL, SMOOTH])
@pytest.mark.parametrize("height", [16, 33, 64, 71])
def test_bands_do_not_show_in_the_image_nor_in_its_gradient(monkeypatch, subsampling, rounding, height):
    def recoded_and_slope() -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.rand(2, 3, height, 37, generator=torch.Generator().manual_seed(1)).requires_grad_()
        recoded = recode(images, 30, subsampling, rounding)
        weights = torch.rand(recoded.shape, generator=torch.Generator().manual_seed(2))
        return recoded.detach(), torch.autograd.grad((recoded * weights).sum(), images)[0]

    whole, slope = recoded_and_slope()
    monkeypatch.setattr("models.jpeg_codec.BAND", 16)
    banded, banded_slope = recoded_and_slope()
    torch.testing.assert_close(banded, whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(banded_slope, slope, rtol=0, atol=1e-5)
