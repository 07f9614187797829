"""What sets each attack with gradients apart, as its paper or the code of arXiv 2404.06957 has it."""

import itertools

import pytest
import torch
from standin_metrics import Standin, photograph_like

from models.attack_target import Target
from models.attacks.adv_cf import AdvCf, apply_curves
from models.attacks.amifgsm import Amifgsm
from models.attacks.fgsm import Fgsm
from models.attacks.ifgsm import Ifgsm
from models.attacks.korhonen import Korhonen, spatial_activity
from models.attacks.madc import Madc
from models.attacks.mifgsm import Mifgsm
from models.attacks.ssah import Ssah, coarse
from models.attacks.stadv import Stadv, move
from models.attacks.zhang_ssim import ZhangSsim
from models.defenses.random_crop import RandomCrop
from models.defenses.random_noise import RandomNoise
from models.metric import UndefinedScoreError
from models.metrics import metrics
from models.ssim import ssim

METRIC = Standin()


def rising(images):
    """The gradient of the score."""
    leaf = images.clone().requires_grad_()
    return torch.autograd.grad(METRIC(leaf).sum(), leaf)[0]


def change(attack, images):
    return ((attack(images, METRIC) - images) * 255).round()


def test_fgsm_goes_along_the_sign_of_the_gradient():
    images = 0.25 + photograph_like(1, 16, 16) / 2
    images = (images * 255).round() / 255
    assert torch.equal(change(Fgsm(epsilon=7), images), 7 * rising(images).sign())


def test_ifgsm_is_written_out():
    images = photograph_like(1, 17, 20)
    attacked = images.clone()
    for _ in range(4):
        attacked = attacked + 2 / 255 * rising(attacked).sign()
        attacked = attacked.clamp(images - 5 / 255, images + 5 / 255).clamp(0, 1)
    expected = ((attacked - images) * 255).round()
    assert torch.equal(change(Ifgsm(epsilon=5, step=2, iterations=4), images), expected)


@pytest.mark.parametrize(("momentum", "normalize"), [(0, False), (0.7, False), (1, False), (0.7, True), (1, True)])
def test_mifgsm_is_written_out(momentum, normalize):
    images = photograph_like(1, 17, 20)
    attacked, gathered = images.clone(), torch.zeros_like(images)
    for _ in range(6):
        gradient = rising(attacked)
        gathered = momentum * gathered + (gradient / gradient.abs().sum() if normalize else gradient)
        attacked = attacked + 2 / 255 * gathered.sign()
        attacked = attacked.clamp(images - 5 / 255, images + 5 / 255).clamp(0, 1)
    expected = ((attacked - images) * 255).round()
    attack = Mifgsm(epsilon=5, step=2, iterations=6, momentum=momentum, normalize=normalize)
    assert torch.equal(change(attack, images), expected)


def test_images_whose_gradient_is_zero_stay_as_they_are_also_normalized():
    flat = torch.full((1, 3, 16, 16), 0.5)
    assert torch.equal(Mifgsm(normalize=True)(flat, Level()), (flat * 255).round() / 255)


def test_momentum_matters_and_none_is_ifgsm():
    images = photograph_like(1, 17, 20)
    assert torch.equal(change(Mifgsm(momentum=0), images), change(Ifgsm(), images))
    assert not torch.equal(change(Mifgsm(), images), change(Ifgsm(), images))


class Level(Standin):
    """Gives every image the same score, with a gradient of zero."""

    def score(self, images):
        return (images * 0).sum(dim=(1, 2, 3))


class Look(Standin):
    """Stands for NIQE: 4 for the first image, 0.5 for the second."""

    def score(self, images):
        return torch.tensor([4, 0.5])


def test_amifgsm_is_mifgsm_with_a_budget_that_follows_niqe_and_a_step_that_is_its_tenth(monkeypatch):
    monkeypatch.setitem(metrics(), "niqe", Look())
    images = photograph_like(2, 17, 20)
    done = Amifgsm(k=0.0625, iterations=5).run(images, METRIC)
    assert done.budget.tolist() == [3, 15], "255 / 16 / 4 in whole levels; below 1 NIQE counts as 1"
    for index, budget in enumerate((3, 15)):
        same = Mifgsm(epsilon=budget, step=budget / 5, iterations=5)(images[index : index + 1], METRIC)
        assert torch.equal(done.images[index : index + 1], same)
    assert Amifgsm(k=0.01, iterations=1).run(images, METRIC).budget.tolist() == [1, 2], "a level at least"
    without = Amifgsm(k=0.0625, iterations=5, momentum=0)(images, METRIC)
    assert not torch.equal(without, done.images)


def test_where_niqe_has_no_score_it_is_amifgsm_that_has_no_budget():
    flat = torch.full((1, 3, 96, 96), 0.5)
    with pytest.raises(UndefinedScoreError, match=r"^amifgsm has no budget for this image: niqe is not defined"):
        Amifgsm().run(flat, METRIC)


def test_adam_steps_weighed_by_activity_are_written_out():
    images, rate = photograph_like(1, 17, 20), 0.02
    weight = spatial_activity(images) / 255
    attacked, first, second = images.clone(), torch.zeros_like(images), torch.zeros_like(images)
    for step in range(1, 5):
        slope = -rising(attacked) / 10 * weight
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        move_by = rate * first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        attacked = (attacked - move_by).clamp(0, 1)
    off = change(Korhonen(learning_rate=rate, iterations=4), images) - ((attacked - images) * 255).round()
    assert off.abs().max() <= 1
    assert off.abs().mean() < 0.01, "but for rounding"


def test_korhonen_leaves_flat_regions_alone():
    images = photograph_like(1, 32, 40)
    images[..., 20:] = 100 / 255
    activity = spatial_activity(images)
    assert activity.max() == 1
    assert activity[..., 24:].max() == 0
    changed = change(Korhonen(), images)
    assert changed[..., 24:].abs().max() == 0
    assert changed[..., 4:16].abs().max() > 0


@pytest.mark.parametrize("size", [(16, 16), (33, 57), (299, 299)])
def test_an_image_without_horizontal_change_has_no_activity(size):
    rows = torch.rand(1, 3, size[0], 1, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
    assert spatial_activity(rows.expand(1, 3, *size).contiguous()).max() == 0


def test_the_least_change_that_8_bits_can_hold_is_activity():
    images = torch.full((1, 3, 16, 16), 128 / 255)
    images[0, 2, :, 8] = 129 / 255
    assert spatial_activity(images).max() == 1


def test_activity_is_the_horizontal_edge_widened_to_a_disc():
    images = torch.zeros(1, 3, 16, 16)
    images[..., 8, 8] = 1
    activity = spatial_activity(images)[0, 0]
    assert activity[8, 5:12].tolist() == pytest.approx([1] * 7)
    assert activity[10, 4:13].tolist() == pytest.approx([0, 0.5, 1, 1, 1, 1, 1, 0.5, 0])
    assert activity[11, 4:13].tolist() == pytest.approx([0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0, 0])
    assert activity[12].max() == 0


def test_madc_steps_across_the_distance_from_the_original():
    images = photograph_like(1, 17, 20)
    attacked = images.clone()
    for _ in range(3):
        slope, moved = rising(attacked), attacked - images
        if moved.any():
            slope = slope - (slope * moved).sum() / moved.square().sum() * moved
            assert abs(float((slope * moved).sum())) < 1e-4 * float(slope.norm() * moved.norm())
        attacked = (attacked + 0.01 * slope.sign()).clamp(0, 1)
    expected = ((attacked - images) * 255).round()
    assert torch.equal(change(Madc(learning_rate=0.01, epsilon=64, iterations=3), images), expected)


def test_madc_holds_its_distance_after_rounding_too():
    images = photograph_like(2, 32, 32)
    for epsilon in (0.5, 1, 3):
        attacked = Madc(epsilon=epsilon, learning_rate=0.01)(images, METRIC)
        distance = ((attacked - images) * 255).square().mean(dim=(1, 2, 3)).sqrt()
        assert (distance <= epsilon + 1e-3).all()
        assert (METRIC(attacked) > METRIC(images)).all() or epsilon < 1


def test_madc_steps_back_just_to_its_limit_and_only_where_an_image_is_beyond_it():
    images = photograph_like(2, 32, 32)
    images[1] = images[1].mean().mul(255).round() / 255  # flat: other steps than the first
    attack = Madc(epsilon=3, learning_rate=0.007, iterations=3)
    attacked = attack(images, METRIC)
    assert torch.equal(attacked, torch.cat([attack(one, METRIC) for one in images.split(1)]))
    distance = ((attacked - images) * 255).square().mean(dim=(1, 2, 3)).sqrt()
    assert (distance > 2.5).all()


def test_ssahs_coarse_picture_is_the_mean_of_2x2_pixels():
    images = photograph_like(1, 16, 20)
    expected = images.view(1, 3, 8, 2, 10, 2).mean(dim=(3, 5))
    assert torch.allclose(coarse(images)[..., ::2, ::2], expected)
    assert torch.allclose(coarse(images)[..., 1::2, 1::2], expected)
    cut = coarse(images[..., :15, :17])
    assert cut.shape == (1, 3, 15, 17)
    assert torch.allclose(cut[..., :14, 16], images[..., :14, 16].view(1, 3, 7, 2).mean(3).repeat_interleave(2, 2) / 2)
    assert torch.allclose(cut[..., 14, 16], images[..., 14, 16] / 4), "beyond an odd side there are zeros"


def test_ssahs_penalty_keeps_the_coarse_picture():
    images = photograph_like(1, 32, 32)
    free, kept = (Ssah(weight=weight, learning_rate=0.02)(images, METRIC) for weight in (0, 100))
    moved = [(coarse(attacked) - coarse(images)).abs().mean() for attacked in (free, kept)]
    assert moved[1] < moved[0] / 2


def test_zhangs_penalty_keeps_similarity():
    images = photograph_like(1, 32, 32)
    wide = Standin(bounds=(0.0, 1e6))  # the score hardly counts beside the penalty
    loose, tight = ZhangSsim()(images, METRIC), ZhangSsim()(images, wide)
    assert ssim(tight, images) > ssim(loose, images)


def test_straight_curves_change_nothing_and_bent_ones_stay_monotone_and_keep_white():
    levels = torch.arange(256).view(1, 1, 256).expand(1, 3, 256)
    assert torch.allclose(apply_curves(torch.ones(1, 3, 64), levels), levels / 255, atol=1e-6)
    bent = apply_curves(torch.rand(1, 3, 64, generator=torch.Generator().manual_seed(1)), levels)
    assert (bent.diff(dim=2) >= -1e-6).all()
    assert torch.allclose(bent[..., [0, 255]], torch.tensor([0.0, 1.0]).expand(1, 3, 2))


def test_color_curves_map_equal_values_to_equal_values():
    images = photograph_like(1, 32, 32)
    attacked = AdvCf()(images, METRIC)
    for before, after in zip(images[0], attacked[0], strict=True):
        for level in before.unique():
            assert after[before == level].unique().numel() == 1


def test_steep_steps_still_end_in_curves_that_rise():
    levels = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    attacked = AdvCf(learning_rate=1, iterations=5)(levels.contiguous(), METRIC)
    assert (attacked.flatten(2).diff(dim=2) >= 0).all()
    assert not torch.equal(attacked, levels)


class Peak(Standin):
    """Best a little brighter than the picture is: what goes further loses again."""

    def score(self, images):
        return 9 - 1000 * (images.mean(dim=(1, 2, 3)) - photograph_like(1, 32, 32).mean() - 0.02) ** 2


@pytest.mark.parametrize(("kind", "metric"), [(AdvCf, Peak()), (Stadv, METRIC)])
def test_the_best_of_all_steps_is_kept_where_steps_overshoot(kind, metric):
    images = photograph_like(1, 32, 32)
    rate = kind.model_fields["learning_rate"].metadata[1].le
    reached = [metric(kind(learning_rate=rate, iterations=count)(images, metric)).item() for count in range(1, 6)]
    assert all(later >= earlier - 2e-3 for earlier, later in itertools.pairwise(reached)), reached
    assert reached[0] >= metric(images).item() - 2e-3


@pytest.mark.parametrize(("kind", "weight"), [(AdvCf, 1000), (Stadv, 1)])
def test_a_heavy_penalty_and_a_small_step_keep_the_image_nearer(kind, weight):
    images = photograph_like(1, 32, 32)
    free, bound, slow = (
        (kind(**parameters)(images, METRIC) - images).abs().mean()
        for parameters in ({"weight": 0}, {"weight": weight}, {"weight": 0, "learning_rate": 0.001})
    )
    assert bound < 0.95 * free
    assert slow < 0.7 * free


def test_a_flow_of_one_pixel_shifts_the_image():
    images, flow = photograph_like(1, 16, 20), torch.zeros(1, 2, 16, 20)
    assert torch.allclose(move(images, flow), images, atol=1e-5)
    flow[:, 1] = 1
    assert torch.allclose(move(images, flow)[..., :-1], images[..., 1:], atol=1e-5)


class Brightness(Standin):
    """The mean of all values, which noise shifts for every image alike."""

    def score(self, images):
        return 10 * images.mean(dim=(1, 2, 3))


def test_the_best_step_through_a_random_defense_is_the_best_through_the_same_draws():
    darker = torch.full((8, 3, 16, 16), 100 / 255)
    brighter, given = darker + 1 / 255, torch.tensor([-9.0, 9.0] * 4)
    target = Target(darker, tuple(range(8)), Brightness(), RandomNoise(sigma=0.2), sign=1, draws=1, budget=None)
    for one, other in ((darker, brighter), (brighter, darker)):
        assert torch.equal(target.better(one, given, other, -given)[0], brighter), "whatever other draws have told"


def test_what_a_random_defense_makes_look_good_by_chance_is_not_kept():
    images, defense = photograph_like(4, 24, 24), RandomCrop(size=16)

    def defended(attacked):
        return torch.stack([METRIC(defense(attacked, 1000 + number)) for number in range(100)]).mean(0)

    attacked = [Stadv()(images, METRIC, defense, seed) for seed in (5, 6, 7)]
    assert torch.stack([defended(one) - defended(images) for one in attacked]).mean() > 0.02
    assert AdvCf(iterations=4).run(images, METRIC, defense).queries.tolist() == [14] * 4, "three a step, two at the end"
