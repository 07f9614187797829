"""The restoring defenses, with small networks as added weights."""

import pytest
import torch
from pydantic import ValidationError
from restoration_networks import compact, mprnet, rrdb, saved
from spandrel.architectures.DRUNet import DRUNet

from models.defense import DefenseUnavailableError, PurificationError
from models.defenses import parse_defense
from models.defenses.mprnet import MPRNet
from models.defenses.real_esrgan import RealESRGAN
from models.defenses.restore import Restore
from models.restoration import networks as restoration
from models.restoration.networks import MPRNET
from models.restoration.restorer import CONTEXT, Restorer, resized

SIZES = [(16, 16), (17, 33), (31, 64)]


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A folder of added weights: small, large, plain (scale 1), halving (three times) and mprnet."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PURIFIQA_WEIGHTS_DIR", str(folder))
        patch.setenv("PURIFIQA_PRECISION", "float32")
        halving = DRUNet(in_nc=4, out_nc=3, nc=[8, 8, 8, 8], nb=2).state_dict()
        states = {
            "small": compact(),
            "large": rrdb(),
            "plain": compact(scale=1),
            "halving": halving,
            "mprnet": mprnet(),
        }
        for name, state in states.items():
            restoration.adopt(name, saved(state, folder / "net.pth"))
        yield


@pytest.fixture
def no_networks(tmp_path, monkeypatch):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("PURIFIQA_PRECISION", "float32")


EVERY_NETWORK = pytest.mark.parametrize("network", ["small", "large", "plain", "mprnet"])


def noise_images(count, height, width):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("outscale", [0.25, 1, 1.5, 4])
@EVERY_NETWORK
def test_any_size_becomes_an_image_of_the_promised_size(networks, network, outscale, size):
    defense, images = Restore(network=network, outscale=outscale), noise_images(1, *size)
    before = images.clone()
    restored = defense(images)
    assert restored.shape == (1, 3, *defense.output_size(size))
    assert defense.output_size(size) == tuple(max(16, int(side * outscale)) for side in size)
    assert restored.min() >= 0
    assert restored.max() <= 1
    assert torch.equal(images, before)


@EVERY_NETWORK
def test_an_image_comes_out_the_same_alone_or_in_a_batch_and_in_any_memory_layout(networks, network):
    defense, images = Restore(network=network), noise_images(3, 21, 40)
    together = defense(images)
    alone = torch.cat([defense(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    assert torch.equal(defense(images.contiguous(memory_format=torch.channels_last)), together)


@pytest.mark.parametrize("tile", [64, 100])
@pytest.mark.parametrize("network", ["small", "plain", "halving"])
def test_tiles_give_what_the_whole_image_gives_if_the_network_looks_no_farther_than_their_context(
    networks, network, tile
):
    images = noise_images(2, 70, 150)
    whole, tiled = (Restore(network=network, tile=side)(images) for side in (256, tile))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_tiles_of_a_network_that_sees_everything_fade_into_each_other(networks):
    images = noise_images(1, 70, 150)
    whole, tiled = (Restore(network="mprnet", tile=tile)(images) for tile in (256, 64))
    difference = (tiled - whole).abs()
    assert 0 < difference.mean() < 0.05
    same = restoration.load("mprnet", images.device)._replace(network=torch.nn.Identity())
    torch.testing.assert_close(same.in_tiles(images, 64), images, rtol=0, atol=1e-6)


def test_tiles_that_fade_are_halved_as_the_whole_image_is(networks):
    images = noise_images(1, 80, 176)
    halving = restoration.load("halving", images.device)._replace(local=False)
    torch.testing.assert_close(halving.in_tiles(images, 100), halving.whole(images), rtol=0, atol=0.02)


@EVERY_NETWORK
def test_the_gradient_agrees_with_finite_differences(networks, network):
    torch.manual_seed(1)
    defense = Restore(network=network, tile=64)
    ramp = torch.linspace(0.35, 0.65, 80).expand(1, 3, 20, 80)
    direction, weights, step = torch.randn_like(ramp), torch.randn_like(ramp), 1e-3
    variable = ramp.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(defense(variable), variable, weights)
    up, down = defense(ramp + step * direction), defense(ramp - step * direction)
    difference = ((up - down).double() * weights).sum() / (2 * step)
    assert gradient.abs().min(dim=1).values.gt(0).float().mean() > 0.9
    assert abs((gradient * direction).sum() - difference) < 0.02 * gradient.norm() * direction.norm() / 10


@EVERY_NETWORK
def test_a_network_that_first_restored_without_gradients_still_has_them(networks, network):
    restoration._load.cache_clear()
    with torch.inference_mode():
        Restore(network=network)(noise_images(1, 32, 32))
    wanted = noise_images(1, 32, 32).requires_grad_()
    Restore(network=network)(wanted).sum().backward()
    assert wanted.grad.abs().max() > 0


def test_outscale_4_of_a_network_that_enlarges_fourfold_is_its_output(networks):
    images = noise_images(1, 16, 20)
    expected = restoration.load("small", images.device).whole(images)
    assert torch.equal(Restore(network="small", outscale=4)(images), expected)


@pytest.mark.parametrize(("outscale", "within"), [(0.5, 1), (1, 1), (1.5, 2)])
def test_only_tiles_are_held_larger_than_the_next_whole_scale(networks, monkeypatch, outscale, within):
    images, held = noise_images(1, 150, 210), []
    whole = resized(restoration.load("small", torch.device("cpu")).whole(images), (150 * within, 210 * within))
    whole = resized(whole, (int(150 * outscale), int(210 * outscale)))
    for name in ("whole", "in_tiles"):
        monkeypatch.setattr(Restorer, name, recording(getattr(Restorer, name), held))
    restored = Restore(network="small", tile=64, outscale=outscale)(images)
    torch.testing.assert_close(restored, whole.clamp(0, 1), rtol=0, atol=1e-5)
    assert max(height * width for height, width in held) <= (4 * (64 + 2 * CONTEXT)) ** 2 < 16 * 150 * 210


def recording(method, held):
    def recorded(*arguments, **options):
        result = method(*arguments, **options)
        held.append(tuple(result.shape[2:]))
        return result

    return recorded


def test_broken_output_is_reported(networks, monkeypatch):
    nan = restoration.load("small", torch.device("cpu"))._replace(
        network=lambda images: images.repeat(1, 1, 4, 4) * torch.nan
    )
    monkeypatch.setattr(restoration, "load", lambda name, device: nan)
    with pytest.raises(PurificationError, match="NaN"):
        Restore(network="small")(noise_images(1, 16, 16))


@pytest.mark.parametrize(
    ("defense", "cure"),
    [
        (Restore(network="other"), "Run: purifiqa weights add other FILE"),
        (Restore(network="real-esrgan"), "Run: purifiqa weights pull real-esrgan"),
        (RealESRGAN(), "Run: purifiqa weights pull real-esrgan"),
        (
            MPRNet(),
            f"Save mprnet_denoise.pth from {MPRNET.url}, then run: purifiqa weights add mprnet mprnet_denoise.pth",
        ),
    ],
)
def test_without_weights_it_is_unavailable_and_says_what_to_do(no_networks, defense, cure):
    availability = defense.availability()
    assert not availability.available
    assert availability.cure == cure
    with pytest.raises(DefenseUnavailableError, match=f"the weights {defense.weights_name}.* have not been added"):
        defense(noise_images(1, 16, 16))


def test_the_defenses_of_the_paper_are_restore_with_their_networks(no_networks, tmp_path):
    images = noise_images(1, 18, 30)
    saved(compact(1), tmp_path / restoration.WDN.file)
    files = {
        "real-esrgan": saved(compact(0), tmp_path / restoration.GENERAL.file),
        "mprnet": saved(mprnet(), tmp_path / "mprnet_denoise.pth"),
    }
    for entry in restoration.PUBLISHED:
        name = entry.published.name
        entry.add(files[name])
        defense = parse_defense(name)
        assert (defense.outscale, defense.weights) == (1, (name,))
        assert torch.equal(defense(images), Restore(network=name)(images))


def test_weights_of_another_kind_are_not_taken_for_a_restorer(no_networks, tmp_path):
    from models import checkpoints

    checkpoints.add("net", "denoiser", tmp_path / "net.pth", {"weight": torch.ones(1)})
    assert not Restore(network="net").availability().available


@pytest.mark.parametrize("name", ["../x", "X", "", "a" * 65, "a/b", "net\n"])
def test_a_network_is_a_name_and_never_a_path(name):
    with pytest.raises(ValidationError, match="network"):
        Restore(network=name)
