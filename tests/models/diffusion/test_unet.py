import json

import pytest
import torch
from skimage.data import chelsea

from models import checkpoints, published
from models.checkpoints import CheckpointError
from models.defenses import make_defense
from models.diffusion import unet
from models.diffusion.denoisers import find_denoiser
from models.diffusion.schedule import alpha_bar, sigma_of


def save_unet(folder, channels=3, schedule=None, **config):
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=channels,
        layers_per_block=1,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        **config,
    )
    network.save_pretrained(folder)
    if schedule is not None:
        DDPMScheduler(**schedule).save_pretrained(folder / "scheduler")
    return network.eval()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def cat():
    return torch.from_numpy(chelsea()[60:110, 130:201].copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("channels", [3, 6])
def test_an_added_unet_purifies_by_its_name(home, channels):
    save_unet(home / "mine", channels)
    published.add("mine", home / "mine")
    for sampler in ("one-shot", "ancestral", "dpm-solver"):
        defense = make_defense({"name": "diffpure", "denoiser": "mine", "timestep": 3, "sampler": sampler})
        assert defense.availability().available
        purified = defense(torch.cat([cat(), cat()]), [1, 1])
        assert purified.shape == (2, 3, 50, 71)
        assert torch.equal(purified[0], purified[1])


def test_an_added_unet_purifies_from_the_last_timestep(home):
    save_unet(home / "mine")
    published.add("mine", home / "mine")
    purified = make_defense({"name": "diffpure", "denoiser": "mine", "timestep": 1000})(cat(), 1)
    assert purified.shape == cat().shape


def test_an_added_unet_that_first_purified_without_gradients_still_has_them(home):
    save_unet(home / "mine")
    published.add("mine", home / "mine")
    unet._network.cache_clear()
    defense = make_defense({"name": "diffpure", "denoiser": "mine", "timestep": 3})
    with torch.inference_mode():
        defense(cat(), 1)
    wanted = cat().requires_grad_()
    defense(wanted, 1).sum().backward()
    assert wanted.grad.abs().max() > 0


def test_only_so_many_unets_are_kept_in_memory(home):
    for name in ("one", "two", "three"):
        save_unet(home / name)
        published.add(name, home / name)
        find_denoiser(name).mean(cat()[..., :32, :32], torch.tensor([0.05]))
    assert unet._network.cache_info().currsize == 2


def test_its_mean_is_the_networks_epsilon_at_the_matching_timestep(home, monkeypatch):
    monkeypatch.setenv("PURIFIQA_PRECISION", "float32")
    network = save_unet(home / "mine")
    published.add("mine", home / "mine")
    noisy, timestep = cat()[..., :48, :64], 40
    kept = alpha_bar(timestep)
    x = kept**0.5 * (2 * noisy - 1)
    with torch.no_grad():
        epsilon = network(x, torch.tensor([timestep - 1.0])).sample
    expected = ((x - (1 - kept) ** 0.5 * epsilon) / kept**0.5).clamp(-1, 1).add(1).div(2)
    denoiser = find_denoiser("mine")
    torch.testing.assert_close(denoiser.mean(noisy, torch.tensor([sigma_of(timestep)])), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(denoiser.epsilon(x, timestep), epsilon, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": {"beta_schedule": "squaredcos_cap_v2"}}, "beta_schedule is squaredcos_cap_v2"),
        ({"schedule": {"prediction_type": "v_prediction"}}, "prediction_type is v_prediction"),
        ({"schedule": {"rescale_betas_zero_snr": True}}, "rescale_betas_zero_snr is True"),
        ({"num_class_embeds": 10}, "conditioned on classes"),
        ({"channels": 1}, "does not return noise"),
    ],
)
def test_a_unet_that_is_no_such_denoiser_is_refused(home, options, words):
    save_unet(home / "mine", **options)
    with pytest.raises(CheckpointError, match=words):
        published.add("mine", home / "mine")
    assert checkpoints.names() == []


def test_weights_that_do_not_fit_their_configuration_are_refused(home):
    save_unet(home / "mine")
    config = json.loads((home / "mine" / "config.json").read_text())
    (home / "mine" / "config.json").write_text(json.dumps({**config, "block_out_channels": [32, 64]}))
    with pytest.raises(CheckpointError, match="another architecture"):
        published.add("mine", home / "mine")


@pytest.mark.parametrize("size", ["32", 32.5, -32, [32, "x"], True])
def test_a_unet_whose_size_is_no_size_is_refused_and_not_found_out_when_it_purifies(home, size):
    save_unet(home / "mine")
    config = json.loads((home / "mine" / "config.json").read_text())
    (home / "mine" / "config.json").write_text(json.dumps({**config, "sample_size": size}))
    with pytest.raises(CheckpointError, match="sample_size is not a size"):
        published.add("mine", home / "mine")


def test_kept_weights_that_were_changed_are_refused_before_they_are_used(home):
    save_unet(home / "changed")
    published.add("changed", home / "changed")
    file = checkpoints.folder("changed") / checkpoints.WEIGHTS
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="has changed since it was added"):
        make_defense({"name": "diffpure", "denoiser": "changed"})(cat(), 1)


def test_an_id_of_the_hub_that_is_not_in_the_cache_says_how_to_get_it(home):
    defense = make_defense({"name": "diffpure", "denoiser": "google/ddpm-cat-256"})
    availability = defense.availability()
    assert not availability.available
    assert "hf download google/ddpm-cat-256" in availability.cure


def test_another_file_than_the_published_one_is_refused_as_adm(home):
    (home / "adm.pt").write_bytes(b"not it")
    with pytest.raises(CheckpointError, match="6 bytes instead of 2211383297"):
        published.add("adm-256", home / "adm.pt")


@pytest.mark.parametrize("name", ["../up", "/etc", "Caps", "", "ffdnet"])
def test_a_name_that_cannot_be_is_refused(home, name):
    save_unet(home / "mine")
    with pytest.raises(CheckpointError):
        published.add(name, home / "mine")
