"""What sets each attack apart that only asks for scores."""

import torch
from standin_metrics import Standin, photograph_like

from models.attacks.nes import Nes
from models.attacks.onepixel import Onepixel
from models.attacks.parsimonious import Parsimonious
from models.attacks.square import Square

METRIC = Standin()


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


def test_parsimonious_ends_below_its_queries_where_no_block_gains_any_more():
    done = Parsimonious(block=4).run(photograph_like(1, 16, 16), METRIC)
    assert done.queries.item() < 10_000
    assert METRIC(done.images) > METRIC(photograph_like(1, 16, 16))


def test_square_never_ends_worse_than_it_began():
    images = photograph_like(4, 16, 16)
    for queries in (2, 3, 20):
        assert (METRIC(Square(queries=queries)(images, METRIC, seed=3)) >= METRIC(images)).all()


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
