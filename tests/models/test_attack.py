"""The base class and its target: directions, scales, budgets, draws, and what is refused."""

from typing import ClassVar

import pytest
import torch
from pydantic import ValidationError
from standin_metrics import Standin, photograph_like

from models.attack import Attack, AttackError, DefenseMissingError
from models.attack_target import Target
from models.attacks import UnknownAttackError, parse_attack
from models.attacks.ifgsm import Ifgsm
from models.attacks.parsimonious import Parsimonious
from models.attacks.square import Square
from models.attacks.stadv import Stadv
from models.defenses import parse_defense
from models.noise import Noise, derive_seed


class Drawn(Attack):
    """Return what it is told to."""

    name: str = "drawn"
    source: ClassVar[str] = "here"
    shift: float = 0
    epsilon: float | None = None
    cut: int = 0

    def budgets(self, images):
        return None if self.epsilon is None else torch.full((len(images),), self.epsilon)

    def perturb(self, target):
        return (target.images + self.shift)[..., self.cut :]


class Recorder(Standin):
    """Remembers the images that it scored."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def score(self, images):
        self.seen.append(images.detach().clone())
        return super().score(images)


class Lopsided(Standin):
    """The mean of the left half: what raises it where it is does not raise it mirrored."""

    def score(self, images):
        return 10 * images[..., : images.shape[3] // 2].mean(dim=(1, 2, 3))


def target(metric, defense=None, sign=1, draws=1, seeds=(5, 6), **more):
    return Target(photograph_like(2, 17, 20), seeds, metric, defense, sign=sign, draws=draws, budget=None, **more)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_loss_is_one_less_the_score_in_units_of_the_range(sign):
    metric = Standin(bounds=(-10.0, 30.0))
    aim = target(metric, sign=sign)
    expected = 1 - sign * metric(aim.images) / 40
    torch.testing.assert_close(aim.loss(aim.images), expected)
    torch.testing.assert_close(aim.gradient(aim.images).loss, expected)


def test_the_scale_of_an_open_range_is_the_clean_score():
    metric = Standin(bounds=(0.0, None))
    aim = target(metric)
    torch.testing.assert_close(aim.loss(aim.images), torch.zeros(2))
    assert aim.loss(1 - aim.images).abs().max() > 0


def test_the_scale_of_an_open_range_is_at_least_one():
    class Small(Standin):
        def score(self, images):
            return super().score(images) / 100

    metric = Small(bounds=(0.0, None))
    aim = target(metric)
    torch.testing.assert_close(aim.loss(aim.images), 1 - metric(aim.images))


@pytest.mark.parametrize(
    "attack", [Ifgsm(iterations=2), Stadv(iterations=2), Square(queries=5), Parsimonious(queries=5)]
)
def test_whatever_is_scored_is_a_query_and_black_boxes_keep_to_theirs_where_a_range_is_open(attack):
    metric = Recorder()
    metric.card = metric.card.model_copy(update={"range": (0.0, None)})
    done = attack.run(photograph_like(1, 24, 24), metric)
    assert done.queries.item() == sum(len(images) for images in metric.seen)
    assert attack.white_box or done.queries.item() <= attack.queries


def test_the_first_slope_stays_that_of_the_clean_image():
    aim = target(Standin())
    aim.gradient(aim.images)
    first = aim.first_slope.clone()
    aim.gradient(1 - aim.images)
    assert torch.equal(aim.first_slope, first)


def test_the_gradient_is_that_of_the_loss_also_through_a_defense():
    metric, defense = Standin(), parse_defense("resize")
    aim = target(metric, defense)
    leaf = aim.images.clone().requires_grad_()
    (expected,) = torch.autograd.grad((1 - metric(defense(leaf)) / 10).sum(), leaf)
    with torch.no_grad():
        slope = aim.gradient(aim.images)
    torch.testing.assert_close(slope.gradient, expected)
    torch.testing.assert_close(aim.first_slope, expected.abs().sum(dim=(1, 2, 3)))
    assert not slope.gradient.requires_grad


def test_draws_are_averaged_and_none_is_used_twice_or_the_evaluators():
    metric, defense = Standin(), parse_defense('{"name": "random-noise", "sigma": 0.1}')
    aim = target(metric, defense, draws=3)
    first, second = aim.loss(aim.images), aim.loss(aim.images)
    assert not torch.equal(first, second)
    seeds = [[derive_seed(seed, part, "attack") for seed in (5, 6)] for part in range(1, 7)]
    assert all(draw != [5, 6] for draw in seeds)
    one_by_one = torch.stack([1 - metric(defense(aim.images, draw)) / 10 for draw in seeds])
    torch.testing.assert_close(
        torch.stack([first, second]), torch.stack([one_by_one[:3].mean(0), one_by_one[3:].mean(0)])
    )
    again = target(metric, defense, draws=3)
    leaf = aim.images.clone().requires_grad_()
    mean = sum(1 - metric(defense(leaf, draw)) / 10 for draw in seeds[:3]) / 3
    torch.testing.assert_close(again.gradient(aim.images).gradient, torch.autograd.grad(mean.sum(), leaf)[0])
    assert aim.queries.tolist() == [6, 6]
    assert again.queries.tolist() == [3, 3]


def test_what_an_attack_draws_for_itself_is_not_what_the_defense_draws():
    aim = target(Standin(), parse_defense('{"name": "random-noise", "sigma": 0.1}'))
    own = aim.noise.normal_like(aim.images).flatten()
    for part in range(4):
        seeds = [derive_seed(seed, part, "attack") for seed in (5, 6)]
        defenses = Noise(seeds).normal_like(aim.images).flatten()
        assert abs(float(torch.corrcoef(torch.stack([own, defenses]))[0, 1])) < 0.5


def test_a_defense_that_is_not_random_is_drawn_once():
    aim = target(Standin(), parse_defense("resize"), draws=8)
    aim.gradient(aim.images)
    assert aim.queries.tolist() == [1, 1]


@pytest.mark.parametrize("sign", [1, -1])
def test_both_is_the_clean_score_and_the_lesser_of_two_changes(sign):
    metric, defense = Standin(), parse_defense("flip")
    aim = target(metric, defense, sign=sign, both=True)
    clean = aim.images
    raised = (clean + sign * 0.1 * torch.linspace(0, 1, 20)).clamp(0, 1)
    before = sign * (metric(raised) - metric(clean))
    behind = sign * (metric(defense(raised, 0)) - metric(defense(clean, 0)))
    expected = 1 - (sign * metric(clean) + torch.minimum(before, behind)) / 10
    torch.testing.assert_close(aim.loss(raised), expected)
    torch.testing.assert_close(aim.gradient(raised).loss, expected)
    torch.testing.assert_close(aim.of(1).loss(raised[1:]), expected[1:])
    assert aim.queries.tolist() == [3, 4], "the clean image once, and each variant once"


def test_both_raises_two_scores_that_an_attack_through_the_defense_tears_apart():
    metric, defense, images = Lopsided(), parse_defense("flip"), photograph_like(2, 17, 20)

    def rises(**parameters):
        attacked = Ifgsm(**parameters)(images, metric, defense)
        return metric(attacked) - metric(images), metric(defense(attacked, 0)) - metric(defense(images, 0))

    through, alike = rises(), rises(both=True)
    assert (through[0] < 0.2 * through[1]).all()
    assert (alike[0] > 0.4 * through[1]).all()
    torch.testing.assert_close(alike[0], alike[1], rtol=0.25, atol=0)


def test_both_needs_a_defense_and_a_learned_pattern_cannot_do_it():
    with pytest.raises(DefenseMissingError, match=r"ifgsm with both=true .* name the defense"):
        Ifgsm(both=True)(photograph_like(1, 17, 20), Standin())
    with pytest.raises(ValidationError):
        parse_attack('{"name": "uap", "both": true}')


def test_variants_of_one_image_share_their_draws_and_are_counted_for_it():
    aim = target(Standin(), parse_defense("random-noise"))
    losses = aim.of(1).loss(aim.images[1:].repeat(20, 1, 1, 1))
    assert losses.unique().numel() == 1
    assert aim.queries.tolist() == [0, 20]


def test_variants_are_made_a_few_at_a_time_and_fewer_of_a_large_image(monkeypatch):
    asked = []

    def make(some):
        asked.append(some.stop - some.start)
        return aim.images[:1] * torch.linspace(0, 1, 40)[some].view(-1, 1, 1, 1)

    aim = target(Standin(), parse_defense("random-noise"), draws=3).of(0)
    together = aim.losses(40, make)
    assert asked == [16, 16, 8]
    monkeypatch.setattr("models.attack_target.PIXELS_AT_ONCE", 3 * aim.images[0, 0].numel())
    aim = target(Standin(), parse_defense("random-noise"), draws=3).of(0)
    asked.clear()
    assert torch.equal(aim.losses(40, make), together)
    assert asked == [3] * 13 + [1]


@pytest.mark.parametrize("epsilon", [0.9, 1, 2.5, 10 * 255 / 255, 7.9999999])
def test_a_budget_counts_whole_levels(epsilon):
    images = photograph_like(1, 16, 16)
    done = Drawn(shift=0.5, epsilon=epsilon).run(images, Standin())
    levels = int(epsilon + 1e-4)
    assert done.budget.tolist() == [levels]
    assert ((done.images - images) * 255).round().max() == levels


def test_budgets_count_from_the_image_as_a_file_holds_it():
    between = (photograph_like(1, 16, 16) * 255 + 0.4).clamp(max=255) / 255
    done = Drawn(shift=0.5, epsilon=3).run(between, Standin())
    assert ((done.images * 255).round() - (between * 255).round()).max() == 3


@pytest.mark.parametrize(("shift", "cut", "reason"), [(torch.nan, 0, "NaN"), (torch.inf, 0, "NaN"), (0, 1, "shape")])
def test_what_is_no_image_is_not_handed_on(shift, cut, reason):
    with pytest.raises(AttackError, match=reason):
        Drawn().model_copy(update={"shift": shift, "cut": cut})(photograph_like(1, 16, 16), Standin())


@pytest.mark.parametrize(
    ("images", "seed", "reason"),
    [
        (torch.zeros(1, 3, 15, 16), 0, "at least 16"),
        (torch.full((1, 3, 16, 16), 1.1), 0, "0, 1"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), 0, "float32"),
        (torch.zeros(2, 3, 16, 16), [1], "2 images need 2 seeds"),
        (torch.zeros(1, 3, 16, 16), -1, "seed"),
    ],
)
def test_what_cannot_be_attacked_is_refused(images, seed, reason):
    with pytest.raises(ValueError, match=reason):
        Ifgsm()(images, Standin(), seed=seed)


def test_no_graph_is_kept_and_gradients_that_were_off_stay_off():
    with torch.no_grad():
        attacked = Ifgsm()(photograph_like(1, 16, 16).requires_grad_(), Standin())
    assert not attacked.requires_grad
    assert attacked.grad_fn is None


def test_a_budget_of_steps_scores_the_image_just_as_often():
    metric = Recorder()
    done = Ifgsm(iterations=10).run(photograph_like(3, 16, 16), metric)
    assert len(metric.seen) == 10
    assert done.queries.tolist() == [10, 10, 10]


def test_queries_are_never_exceeded_and_are_8_bit_images():
    metric = Recorder()
    done = Square(queries=30).run(photograph_like(2, 16, 16), metric)
    assert done.queries.tolist() == [30, 30]
    for images in metric.seen:
        assert (images * 255 - (images * 255).round()).abs().max() < 1e-3


def test_a_wrong_name_suggests_the_right_one():
    with pytest.raises(UnknownAttackError, match="did you mean 'ifgsm'"):
        parse_attack("ifgms")
    with pytest.raises(ValueError, match="is not JSON"):
        parse_attack('{"name": ')
    with pytest.raises(ValueError, match='with a "name"'):
        parse_attack("[1]")
