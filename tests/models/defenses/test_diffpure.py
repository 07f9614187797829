import pytest
import torch
from known_photographs import crop
from pydantic import ValidationError

from models.defense import Cost, PurificationError
from models.defenses import make_defense, parse_defense
from models.diffusion.adaptive import auto_timesteps
from models.diffusion.denoiser import Denoiser
from models.diffusion.denoisers import find_denoiser
from models.diffusion.schedule import sigma_of, timestep_of
from models.diffusion.shipped_denoiser import ShippedDenoiser
from models.diffusion.tiling import Tiled
from models.noise import Noise

CAT, CUP = crop("chelsea", 60, 130), crop("coffee", 150, 250)


def psnr(image, clean):
    return float(-10 * torch.log10((image - clean).square().mean()))


def diffpure(**parameters):
    return make_defense({"name": "diffpure", **parameters})


@pytest.mark.parametrize("name", ["diffpure", "diffpure-edges"])
def test_timestep_zero_changes_nothing(name):
    defense = make_defense({"name": name, "timestep": 0})
    assert torch.equal(defense(CAT, 1), CAT)
    assert not defense.is_stochastic


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
@pytest.mark.parametrize("parameters", [{}, {"timestep": "auto"}, {"sampler": "ddim"}], ids=str)
@pytest.mark.parametrize("name", ["diffpure", "diffpure-unsharp", "diffpure-edges", "diffpure-random-phase"])
def test_what_a_broken_network_makes_is_an_error_with_that_word(name, parameters, broken, monkeypatch):
    monkeypatch.setattr(type(find_denoiser("ffdnet")), "mean", lambda _, noisy, sigma: noisy * broken)
    defense = make_defense({"name": name, **parameters})
    with pytest.raises(PurificationError, match="ffdnet returned NaN or infinite pixels"):
        defense(CAT, 1)


def test_one_shot_is_the_denoiser_on_the_image_with_the_noise_of_the_timestep():
    sigma = sigma_of(30)
    noisy = CAT + sigma * Noise([7]).normal_like(CAT)
    expected = find_denoiser("ffdnet").mean(noisy, torch.tensor([sigma])).clamp(0, 1)
    torch.testing.assert_close(diffpure(timestep=30)(CAT, 7), expected, rtol=0, atol=1e-6)


def test_more_noise_keeps_less_of_the_image():
    kept = [psnr(diffpure(timestep=timestep)(CUP, 1), CUP) for timestep in (5, 10, 30, 100)]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > 36
    assert kept[-1] > 24


def test_the_posterior_mean_is_nearer_to_the_image_than_a_sample():
    mean, sample = diffpure(timestep=30), diffpure(timestep=30, sampler="ancestral", steps=6)
    assert psnr(mean(CAT, 1), CAT) > psnr(sample(CAT, 1), CAT) + 0.7


def test_texture_goes_from_the_mean_to_the_sample():
    ends = {share: diffpure(timestep=20, sampler="ddim", texture=share)(CAT, 3) for share in (0, 0.25, 1)}
    torch.testing.assert_close(ends[0], diffpure(timestep=20)(CAT, 3), rtol=0, atol=1e-6)
    middle = torch.lerp(ends[0], ends[1], 0.25)
    assert (ends[0.25] - middle).abs().mean() < 1e-3


def test_squeezing_loses_what_the_size_held():
    wide = crop("coffee", 50, 100, 300, 400)
    assert psnr(diffpure(timestep=5)(wide, 1), wide) > psnr(diffpure(timestep=5, squeeze=256)(wide, 1), wide) + 3


def test_a_perturbation_is_mostly_gone():
    signs = 6 / 255 * Noise([1]).normal_like(CAT).sign()
    cheated = (CAT + signs).clamp(0, 1)
    for timestep, most in ((10, 0.9), (30, 0.25)):
        change = diffpure(timestep=timestep)(cheated, 2) - diffpure(timestep=timestep)(CAT, 2)
        share = float((change * signs).sum() / signs.square().sum())
        assert share < most


def test_a_margin_removes_more_of_a_strong_perturbation_and_costs_the_clean_image_something():
    cheated = (CUP + 8 / 255 * Noise([1]).normal_like(CUP).sign()).clamp(0, 1)
    plain, wide = diffpure(timestep=10), diffpure(timestep=10, margin=8 / 255)
    assert psnr(wide(cheated, 2), CUP) > psnr(plain(cheated, 2), CUP) + 2
    assert psnr(plain(CUP, 2), CUP) > psnr(wide(CUP, 2), CUP) > psnr(diffpure(timestep=50)(CUP, 2), CUP)


def test_a_margin_adds_no_noise_but_tells_the_denoiser_of_more():
    noisy = CAT + sigma_of(10) * Noise([7]).normal_like(CAT)
    told = torch.tensor([(sigma_of(10) ** 2 + 0.03**2) ** 0.5])
    expected = find_denoiser("ffdnet").mean(noisy, told).clamp(0, 1)
    torch.testing.assert_close(diffpure(timestep=10, margin=0.03)(CAT, 7), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm-solver"])
def test_every_sampler_with_a_margin_and_one_step_gives_the_posterior_mean(sampler):
    mean = diffpure(timestep=10, margin=0.03)(CAT, 7)
    sample = diffpure(timestep=10, margin=0.03, sampler=sampler, steps=1)(CAT, 7)
    assert (sample - mean).abs().mean() < 1e-3  # a sampler's level is that of a whole timestep


def test_auto_chooses_more_for_a_disturbed_image():
    denoiser = Tiled(find_denoiser("ffdnet"))
    noisy = [(CAT + strength / 255 * Noise([1]).normal_like(CAT)).clamp(0, 1) for strength in (0, 3, 8, 60)]
    chosen = auto_timesteps(denoiser, torch.cat(noisy))
    assert chosen == sorted(chosen)
    assert chosen[0] < chosen[1] < chosen[2]
    assert 5 <= chosen[0] <= chosen[-1] <= 50


class Taking(Denoiser):
    """Takes away what it is told to."""

    name = "taking"
    license = "-"

    def __init__(self, amounts):
        self.amounts = amounts

    def mean(self, noisy, sigma):
        return noisy - self.amounts


def test_auto_goes_by_twice_what_is_taken_from_the_calmest_tenth_of_blocks():
    blocks = torch.linspace(0.005, 0.05, 100)
    amounts = blocks.view(1, 1, 10, 10).repeat_interleave(8, 2).repeat_interleave(8, 3)
    images = torch.full((1, 3, 80, 80), 0.5)
    expected = round(timestep_of(2 * float(blocks.square().quantile(0.1).sqrt())))
    assert 5 < expected < 50
    assert auto_timesteps(Taking(amounts), images) == [expected]
    assert auto_timesteps(Taking(torch.tensor(0.2)), images) == [50]
    assert auto_timesteps(Taking(torch.tensor(0.0)), images) == [5]


@pytest.mark.parametrize("others", [{}, {"margin": 0.02}, {"sampler": "dpm-solver", "steps": 2}], ids=str)
def test_auto_is_that_timestep_for_each_image_of_a_batch(others):
    images = torch.cat([CAT, (CUP + 8 / 255 * Noise([1]).normal_like(CUP)).clamp(0, 1)])
    timesteps = auto_timesteps(Tiled(find_denoiser("ffdnet")), images)
    assert timesteps[0] != timesteps[1]
    together = diffpure(timestep="auto", **others)(images, [4, 5])
    for index, timestep in enumerate(timesteps):
        alone = diffpure(timestep=timestep, **others)(images[index : index + 1], 4 + index)
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"timestep": 169}, "ffdnet was trained for timesteps up to 168"),
        ({"timestep": 1001}, "less than or equal to 1000"),
        ({"timestep": "much"}, "auto"),
        ({"denoiser": "ffdnett"}, "did you mean 'ffdnet'"),
        ({"denoiser": "../../etc/passwd"}, "should match pattern"),
        ({"steps": 5}, "choose another sampler"),
        ({"texture": 0.5}, "choose another sampler"),
        ({"squeeze": 100}, "0 or 256"),
        ({"timestep": 0, "margin": 0.01}, "choose another timestep"),
        ({"timestep": 168, "margin": 0.01}, "0.01 are more noise than ffdnet was trained for; lower one"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_with_words(parameters, words):
    with pytest.raises(ValidationError, match=words):
        diffpure(**parameters)


@pytest.mark.parametrize(
    ("timestep", "kind", "bounds"),
    [(1001, "less_than_equal", {"le": 1000}), (-1, "greater_than_equal", {"ge": 0}), ("much", "int_or_auto", None)],
)
def test_a_wrong_timestep_is_one_finding_about_the_timestep(timestep, kind, bounds):
    with pytest.raises(ValidationError) as caught:
        diffpure(timestep=timestep)
    assert [(one["loc"], one["type"], one.get("ctx")) for one in caught.value.errors()] == [
        (("timestep",), kind, bounds)
    ]


def test_the_cost_follows_the_network_and_its_evaluations():
    assert diffpure().effective_cost is Cost.NETWORK
    assert diffpure(sampler="dpm-solver").effective_cost is Cost.NETWORK
    assert diffpure(sampler="ancestral").effective_cost is Cost.DIFFUSION
    assert diffpure(denoiser="adm-256").effective_cost is Cost.DIFFUSION
    assert diffpure(sampler="ddim", steps=8).effective_cost is Cost.NETWORK
    assert diffpure(sampler="ddim", steps=9).effective_cost is Cost.DIFFUSION
    assert diffpure(squeeze=256).work((1000, 800)) == diffpure().work((256, 256))


@pytest.mark.parametrize(
    ("parameters", "evaluations"),
    [
        ({"timestep": "auto"}, 2),
        ({"timestep": "auto", "sampler": "ancestral"}, 51),
        ({"timestep": 5, "sampler": "ancestral", "steps": 1000}, 5),
        ({"timestep": 2, "sampler": "ddim"}, 2),
        ({"timestep": "auto", "sampler": "ddim", "steps": 7}, 8),
        ({"sampler": "ddim", "steps": 3, "texture": 0.5}, 4),
        ({"sampler": "ddim", "steps": 3, "texture": 0}, 1),
    ],
)
def test_the_work_is_that_of_the_evaluations_that_can_be_made(parameters, evaluations):
    assert diffpure(**parameters).work((100, 100)) == evaluations * diffpure().work((100, 100))


@pytest.mark.parametrize(
    "parameters",
    [
        {"timestep": 30},
        {"timestep": "auto"},
        {"sampler": "ddim", "steps": 3, "texture": 0.5},
        {"sampler": "ddim", "steps": 3, "texture": 0},
        {"sampler": "dpm-solver", "timestep": "auto", "margin": 0.03, "texture": 0.5},
    ],
)
def test_the_work_counts_every_evaluation_that_is_made(parameters, monkeypatch):
    made, mean = [], ShippedDenoiser.mean
    monkeypatch.setattr(ShippedDenoiser, "mean", lambda self, *given: made.append(given) or mean(self, *given))
    diffpure(**parameters)(CAT, 1)
    assert diffpure(**parameters).work((10, 10)) == len(made) * diffpure().work((10, 10))


def test_a_denoiser_without_its_weights_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PURIFIQA_WEIGHTS_DIR", str(tmp_path))
    missing = parse_defense('{"name": "diffpure-unsharp", "denoiser": "adm-256", "timestep": 1000}')
    availability = missing.availability()
    assert not availability.available
    assert availability.explanation.startswith("the weights adm-256 (256x256_diffusion_uncond.pt) have not been added")
    assert availability.cure == "Run: purifiqa weights pull adm-256"
    chain = make_defense({"name": "chain", "steps": [{"name": "jpeg"}, missing.model_dump()]})
    assert chain.availability() == availability


def test_unsharp_sharpens_what_the_denoiser_smoothed():
    smooth, sharp = diffpure()(CUP, 1), make_defense({"name": "diffpure-unsharp"})(CUP, 1)
    unsharp = make_defense({"name": "unsharp"})
    torch.testing.assert_close(sharp, unsharp(smooth, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "twin"), [("diffpure-unsharp", "unsharp"), ("diffpure-edges", "none")])
def test_without_diffusion_black_and_white_keep_their_gradient(name, twin):
    picture = (CUP > 0.5).float()
    slopes = []
    for defense in (make_defense({"name": name, "timestep": 0}), make_defense({"name": twin})):
        leaf = picture.clone().requires_grad_()
        (slope,) = torch.autograd.grad((defense(leaf, 1) * CUP).sum(), leaf)
        slopes.append(slope)
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-5)


def test_blended_edges_bring_back_edges_and_leave_flat_regions_purified():
    purified = diffpure(timestep=50)(CUP, 1)
    blended = make_defense({"name": "diffpure-edges", "timestep": 50, "strength": 1})(CUP, 1)
    gained = (purified - CUP).square().sum(dim=1) - (blended - CUP).square().sum(dim=1)
    assert psnr(blended, CUP) > psnr(purified, CUP)
    assert gained.min() >= -1e-6
    luma = CUP.mean(dim=1)
    slope = torch.gradient(luma, dim=(1, 2))
    flat = (slope[0].abs() + slope[1].abs()) < 0.005
    assert (blended - purified).abs().sum(dim=1)[flat].mean() < 0.3 * (CUP - purified).abs().sum(dim=1)[flat].mean()


def test_a_mask_from_the_purified_image_lets_less_of_a_perturbation_through():
    signs = 16 / 255 * Noise([1]).normal_like(CUP).sign()
    cheated = (CUP + signs).clamp(0, 1)
    left = {}
    for place in ("input", "purified"):
        blended = make_defense({"name": "diffpure-edges", "mask_from": place, "strength": 1})(cheated, 2)
        left[place] = float(((blended - CUP) * signs).sum() / signs.square().sum())
    assert left["purified"] < left["input"]
