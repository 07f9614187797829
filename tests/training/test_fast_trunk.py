"""The trunk in bfloat16 that training the metric may use."""

import pytest
import torch
import torch.nn.functional as F
from known_photographs import pixels

from models.iqa.fr_surrogate import FRSurrogate
from training import fast_trunk, imagenet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not fast_trunk.is_possible(),
        reason="needs a CPU with AVX-512 and its bfloat16, g++ and ninja",
    ),
]


@pytest.fixture(scope="module")
def trunk():
    return imagenet.trunk()


def photographs(height, width):
    names = ("astronaut", "coffee", "rocket")
    images = torch.stack([torch.from_numpy(pixels(name, max(height, width)).copy()) for name in names])
    return images[:, :height, :width].permute(0, 3, 1, 2).float() / 255


def gradients(trunk, images, see):
    """What is seen, and gradients of all that is seen, weighted by chance."""
    trunk.zero_grad(set_to_none=True)
    pooled, taps = see(images)[:2]
    draw = torch.Generator().manual_seed(0)
    loss = sum((value.float() * torch.randn(value.shape, generator=draw)).mean() for value in (pooled, *taps[1:]))
    loss.backward()
    return pooled.detach(), {name: weights.grad.clone() for name, weights in trunk.named_parameters()}


def plain(trunk):
    def see(images):
        taps = trunk(images)
        return FRSurrogate.pooled(taps), taps

    return see


@pytest.mark.parametrize("size", [(192, 160), (97, 65)])
def test_features_and_gradients_are_those_of_float32_up_to_rounding(trunk, size):
    images = photographs(*size)
    pooled, told = gradients(trunk, images, lambda given: fast_trunk.seen(trunk, given))
    expected, wanted = gradients(trunk, images, plain(trunk))
    assert ((pooled - expected).abs() / (0.1 + expected.abs())).mean() < 0.04  # weights are rounded too
    for name, gradient in wanted.items():
        assert F.cosine_similarity(told[name].flatten(), gradient.flatten(), 0) > 0.9, name
        if gradient.ndim == 4:
            assert 0.7 < told[name].norm() / gradient.norm() < 1.4, name


def test_gradients_are_nearer_to_those_of_float32_than_under_autocast(trunk):
    images = photographs(160, 160)

    def cast(given):
        with torch.autocast("cpu", torch.bfloat16):
            taps = trunk(given)
        return FRSurrogate.pooled([tap.float() for tap in taps]), taps

    wanted, ours, theirs = (
        torch.cat([gradient.flatten() for gradient in gradients(trunk, images, see)[1].values()])
        for see in (plain(trunk), lambda given: fast_trunk.seen(trunk, given), cast)
    )
    distances = [float((other - wanted).norm() / wanted.norm()) for other in (ours, theirs)]
    assert distances[0] < distances[1]


def test_two_threads_see_what_one_sees(trunk):
    images, before = photographs(64, 64), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(gradients(trunk, images, lambda given: fast_trunk.seen(trunk, given)))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[0], found[1], rtol=0.02, atol=1e-4)
