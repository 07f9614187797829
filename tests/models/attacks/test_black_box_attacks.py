"""What sets each attack apart that only asks for scores."""

import math

import pytest
import torch
from standin_metrics import Standin, photograph_like

from models.attacks import parsimonious
from models.attacks.nes import Nes
from models.attacks.onepixel import Onepixel
from models.attacks.parsimonious import Parsimonious
from models.attacks.square import Square
from models.defenses.random_crop import RandomCrop
from models.defenses.random_noise import RandomNoise
from models.noise import derive_seed

METRIC = Standin()


class Linear(Standin):
    """The mean of all values, each with a weight of its own: what a block gains does not depend on the others."""

    def score(self, images):
        weights = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(4))
        return 5 + (images * weights).mean(dim=(1, 2, 3))


def test_only_so_many_pixels_change():
    images = photograph_like(2, 24, 24)
    for pixels in (1, 5):
        done = Onepixel(pixels=pixels, population=20, queries=100).run(images, METRIC)
        changed = (done.images != images).any(dim=1).sum(dim=(1, 2))
        assert (changed <= pixels).all()
        assert changed.min() >= 1
        assert done.queries.tolist() == [100, 100]


def test_parsimonious_goes_to_the_limit_everywhere_in_blocks():
    images = torch.full((1, 3, 24, 24), 100 / 255)
    attacked = Parsimonious(epsilon=6, block=8, queries=20).run(images, METRIC)
    change = ((attacked.images - images) * 255).round()
    assert set(change.unique().tolist()) <= {-6.0, 6.0}
    blocks = change.view(3, 3, 8, 3, 8)
    assert torch.equal(blocks, blocks[:, :, :1, :, :1].expand_as(blocks))
    assert attacked.queries.item() <= 20


@pytest.mark.parametrize(("block", "queries"), [(2, 200), (4, 40)])
def test_parsimonious_uses_what_it_was_told_with_fewer_queries_than_blocks_too(block, queries):
    images = photograph_like(1, 48, 40)
    raised, lowered = (
        Parsimonious(block=block, queries=queries, goal=goal).run(images, METRIC) for goal in ("raise", "lower")
    )
    assert (raised.queries.item(), lowered.queries.item()) == (queries, queries)
    all_down = (images - 12 / 255).clamp(0, 1)
    assert METRIC(lowered.images) < METRIC(all_down) < METRIC(raised.images)


def test_parsimonious_ends_below_its_queries_where_no_block_gains_any_more():
    done = Parsimonious(block=4).run(photograph_like(1, 16, 16), METRIC)
    assert done.queries.item() < 10_000
    assert METRIC(done.images) > METRIC(photograph_like(1, 16, 16))


def test_parsimonious_goes_through_no_more_blocks_once_it_cannot_ask(monkeypatch):
    groups, flip_group = [], parsimonious._Search._flip_group
    monkeypatch.setattr(
        parsimonious._Search, "_flip_group", lambda self, places: (groups.append(places), flip_group(self, places))
    )
    done = Parsimonious(block=16, queries=12).run(photograph_like(1, 32, 32), METRIC, RandomNoise())
    assert done.queries.item() == 11, "one is left, and what a flip changes takes two"
    assert len(groups) <= 12


def test_square_never_ends_worse_than_it_began():
    images = photograph_like(4, 16, 16)
    for queries in (2, 3, 20):
        assert (METRIC(Square(queries=queries)(images, METRIC, seed=3)) >= METRIC(images)).all()


def test_one_pixel_asks_twice_through_a_random_defense_and_never_too_often():
    images = photograph_like(2, 24, 24)
    for queries, population, asked in ((3300, 300, 3300), (200, 20, 180), (10, 300, 9)):
        attack = Onepixel(queries=queries, population=population)
        assert attack.run(images, METRIC, RandomNoise(sigma=0.05)).queries.tolist() == [asked, asked]


def test_pixels_are_found_through_a_random_defense_by_comparing_what_the_same_draws_made():
    images, defense = photograph_like(4, 24, 24), RandomCrop(size=16)

    def defended(attacked):
        return torch.stack([METRIC(defense(attacked, 1000 + number)) for number in range(100)]).mean(0)

    attacked = [Onepixel(pixels=20, population=40, queries=840)(images, METRIC, defense, seed) for seed in (5, 6)]
    assert torch.stack([defended(one) - defended(images) for one in attacked]).mean() > 0.013


@pytest.mark.parametrize("attack", [Square(epsilon=8, queries=200), Parsimonious(epsilon=8, queries=200)])
def test_a_random_defense_is_seen_through_by_comparing_what_the_same_draws_made(attack):
    images, defense = photograph_like(2, 24, 24), RandomNoise(sigma=0.05)

    def defended(attacked):
        return torch.stack([METRIC(defense(attacked, 1000 + number)) for number in range(100)]).mean(0)

    done = attack.run(images, METRIC, defense, seed=5)
    unaware = type(attack)(epsilon=8, queries=100).run(images, METRIC, seed=5)
    gained, at_half_the_queries = (defended(one.images) - defended(images) for one in (done, unaware))
    assert (gained > 0.95 * at_half_the_queries).all(), "asking twice is all that the noise may cost"
    assert (done.queries <= 200).all()
    assert (done.queries >= 198).all()


def test_more_queries_gain_more():
    images = photograph_like(1, 24, 24)
    for kind in (Square, Nes, Parsimonious):
        few, many = (METRIC(kind(queries=queries)(images, METRIC)) for queries in (45, 450))
        assert many > few, kind


def test_nes_follows_the_true_gradient():
    images = photograph_like(1, 16, 16)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(METRIC(leaf).sum(), leaf)
    change = Nes(queries=2000, pairs=1000, step=2, sigma=0.01)(images, METRIC) - images
    inner = (images > 0) & (images < 1)
    cosine = torch.nn.functional.cosine_similarity(change[inner], gradient[inner], dim=0)
    assert cosine > 0.5


def test_nes_is_written_out():
    images, pairs, sigma, step = photograph_like(1, 20, 27), 6, 0.01, 3
    stream = torch.Generator().manual_seed(derive_seed(9, 1, "search"))
    attacked = images.clone()
    for _ in range(2):
        tiles = torch.empty(pairs, 3, 8, 8).normal_(generator=stream)
        noise = tiles.repeat(1, 1, 3, 4)[..., :20, :27]
        up, down = (METRIC((attacked + side * sigma * noise).clamp(0, 1)) for side in (1, -1))
        slope = torch.einsum("p,pchw->chw", up - down, noise)
        attacked = (attacked + step * slope / slope.norm()).clamp(images - 20 / 255, images + 20 / 255).clamp(0, 1)
    done = Nes(queries=24, pairs=pairs, sigma=sigma, step=step, tile=8, epsilon=20).run(images, METRIC, seed=9)
    off = ((done.images - attacked) * 255).abs()
    assert off.max() <= 1
    assert off.mean() < 0.3, "but for rounding"
    assert done.queries.item() == 24


def test_nes_makes_do_with_fewer_queries_than_its_pairs_ask_for():
    images = photograph_like(1, 16, 16)
    done = Nes(queries=11, pairs=20, step=2).run(images, METRIC)
    assert done.queries.item() == 10
    assert not torch.equal(done.images, images)


def test_parsimonious_finds_the_best_choice_where_blocks_are_independent_and_asks_no_more_than_that_takes():
    images, metric = torch.full((1, 3, 16, 16), 0.5).mul(255).round() / 255, Linear()
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(metric(leaf).sum(), leaf)
    done = Parsimonious(block=1, epsilon=40).run(images, metric)
    assert torch.equal((done.images - images).sign(), gradient.sign())
    up = int((gradient > 0).sum())
    least = 1 + 3 * 16 * 16 + up + up  # all down, each alone, each that gains again, and back
    assert least <= done.queries.item() < least + 100, "but for ties in the last digits"


def test_the_squares_area_is_halved_after_as_large_a_share_of_the_queries_as_in_the_paper():
    whole, short = Square(area=0.05), Square(area=0.05, queries=100)
    halved = [(0, 0), (10, 0), (11, 1), (50, 1), (201, 3), (8001, 9)]
    for query, times in halved:
        assert whole._side(query, 100, 200) == round(math.sqrt(0.05 / 2**times * 100 * 200))
    assert short._side(1, 100, 200) == round(math.sqrt(0.05 / 2**2 * 100 * 200))
    assert Square(area=0.0001)._side(9999, 16, 16) == 1
    assert Square(area=1)._side(2, 16, 40) == 16


def test_every_image_that_square_asks_about_is_within_its_budget():
    images, seen = photograph_like(2, 16, 16), []

    class Recorder(Standin):
        def score(self, asked):
            seen.append(asked)
            return super().score(asked)

    Square(queries=40, epsilon=5, area=0.5)(images, Recorder())
    assert max(((asked - images) * 255).abs().max().item() for asked in seen) <= 5 + 1e-3


def test_square_leaves_an_image_alone_whose_score_nothing_moves(monkeypatch):
    monkeypatch.setattr(Standin, "score", lambda self, images: torch.full((len(images),), 5.0))
    images = photograph_like(2, 24, 32)
    assert torch.equal(Square(queries=20)(images, Standin()), images)
