"""Every sampler against data whose posterior is known: independent Gaussian pixels."""

import math

import pytest
import torch

from models.diffusion.denoiser import Denoiser
from models.diffusion.samplers import SAMPLERS, ancestral, trailing
from models.diffusion.schedule import alpha_bar, sigma_of
from models.noise import Noise

CENTER, SPREAD = 0.5, 0.06


class GaussianPixels(Denoiser):
    """The exact posterior mean for pixels drawn from N(0.5, 0.06^2)."""

    name = "gaussian-pixels"
    license = "-"

    def mean(self, noisy, sigma):
        kept = SPREAD**2 / (SPREAD**2 + sigma.view(-1, 1, 1, 1) ** 2)
        return CENTER + kept * (noisy - CENTER)


class Counting(GaussianPixels):
    def __init__(self):
        self.places = []

    def epsilon(self, x, timestep):
        self.places.append(timestep)
        return super().epsilon(x, timestep)


def diffused(timestep, clean, seed=5):
    kept = alpha_bar(timestep)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return math.sqrt(kept) * (2 * clean - 1) + math.sqrt(1 - kept) * noise


def draw(sampler, timestep, steps, clean):
    x = diffused(timestep, clean)
    noise = Noise.for_batch([1 + index for index in range(len(clean))], len(clean))
    return x, (SAMPLERS[sampler](GaussianPixels(), x, timestep, steps, noise) + 1) / 2


def clean_pixels(count=2):
    return CENTER + SPREAD * torch.randn((count, 3, 128, 128), generator=torch.Generator().manual_seed(3))


def posterior(x, timestep):
    sigma = sigma_of(timestep)
    noisy = (x / math.sqrt(alpha_bar(timestep)) + 1) / 2
    mean = GaussianPixels().mean(noisy, torch.full((len(x),), sigma))
    return mean, SPREAD * sigma / math.hypot(SPREAD, sigma)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("timestep", [5, 30, 150])
def test_with_one_step_every_sampler_returns_the_posterior_mean(sampler, timestep):
    x, drawn = draw(sampler, timestep, 1, clean_pixels())
    mean, _ = posterior(x, timestep)
    torch.testing.assert_close(drawn, mean, rtol=0, atol=2e-5)


@pytest.mark.parametrize("timestep", [30, 100])
def test_the_whole_ancestral_chain_draws_from_the_posterior(timestep):
    clean = clean_pixels()
    x, drawn = draw("ancestral", timestep, timestep, clean)
    mean, spread = posterior(x, timestep)
    error = (drawn - mean) / spread
    assert error.mean().abs() < 0.01
    assert error.std() == pytest.approx(1, abs=0.08)  # fixed_small variance is a little too small
    # A sample of the posterior is twice as far from the clean image as its mean: 3 dB.
    ratio = (drawn - clean).square().mean() / (mean - clean).square().mean()
    assert ratio == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver"])
@pytest.mark.parametrize("timestep", [30, 100])
def test_the_ode_ends_where_the_exact_flow_does(sampler, timestep):
    # For Gaussian pixels the probability flow scales the distance from the center: from the noisy spread to the clean.
    x, drawn = draw(sampler, timestep, timestep, clean_pixels())
    noisy = (x / math.sqrt(alpha_bar(timestep)) + 1) / 2
    exact = CENTER + (noisy - CENTER) * SPREAD / math.hypot(SPREAD, sigma_of(timestep))
    torch.testing.assert_close(drawn, exact, rtol=0, atol=0.004)
    assert drawn.std() == pytest.approx(SPREAD, rel=0.03)


def test_the_solver_of_second_order_is_nearer_to_the_exact_flow_with_four_steps():
    errors = {}
    for sampler in ("ddim", "dpm-solver"):
        x, drawn = draw(sampler, 100, 4, clean_pixels())
        noisy = (x / math.sqrt(alpha_bar(100)) + 1) / 2
        exact = CENTER + (noisy - CENTER) * SPREAD / math.hypot(SPREAD, sigma_of(100))
        errors[sampler] = (drawn - exact).square().mean().sqrt()
    assert errors["dpm-solver"] < 0.9 * errors["ddim"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_evaluates_the_network_as_often_as_it_says(sampler):
    denoiser = Counting()
    x = diffused(20, clean_pixels(1)[..., :16, :16])
    SAMPLERS[sampler](denoiser, x, 20, 4, Noise([1]))
    assert denoiser.places == [20, 15, 10, 5]


def test_the_reference_chain_takes_every_timestep_once():
    denoiser = Counting()
    ancestral(denoiser, diffused(5, clean_pixels(1)[..., :16, :16]), 5, 5, Noise([1]))
    assert denoiser.places == [5, 4, 3, 2, 1]


def test_a_learned_variance_is_used():
    class Confident(GaussianPixels):
        """Says that the variance is the largest or the smallest one that DDPM knows."""

        def __init__(self, share):
            self.share = share

        def epsilon(self, x, timestep):
            predicted = super().epsilon(x, timestep)
            return torch.cat([predicted, torch.full_like(predicted, self.share)], dim=1)

    x = diffused(30, clean_pixels())
    drawn = {share: ancestral(Confident(share), x, 30, 6, Noise([1, 2])) for share in (-1, 1)}
    plain = ancestral(GaussianPixels(), x, 30, 6, Noise([1, 2]))
    torch.testing.assert_close(drawn[-1], plain, rtol=0, atol=1e-5)
    assert (drawn[1] - drawn[-1]).abs().mean() > 1e-3


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver"])
def test_a_learned_variance_is_nothing_to_a_sampler_that_draws_none(sampler):
    class Learned(GaussianPixels):
        def epsilon(self, x, timestep):
            predicted = super().epsilon(x, timestep)
            return torch.cat([predicted, 0.5 * torch.ones_like(predicted)], dim=1)

    x = diffused(30, clean_pixels())
    drawn, plain = (SAMPLERS[sampler](one(), x, 30, 6, Noise([1, 2])) for one in (Learned, GaussianPixels))
    assert torch.equal(drawn, plain)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 3])
def test_no_sample_leaves_the_range_of_images(sampler, steps):
    _, drawn = draw(sampler, 5, steps, clean_pixels(1)[..., :16, :16] + 0.5)
    assert drawn.min() >= 0
    assert drawn.max() <= 1


@pytest.mark.parametrize("brighter", [0, 0.5], ids=["gray", "half beyond white"])
def test_the_ancestral_step_is_that_of_the_paper(brighter):
    # Ho et al. 2020, equations 6 and 7, in double precision and by hand, against the last two steps of a chain.
    x = diffused(2, clean_pixels(1)[..., :16, :16] + brighter)
    draws = torch.randn((3, 16, 16), generator=torch.Generator().manual_seed(9)).double()
    beta_2 = 1 - alpha_bar(2) / alpha_bar(1)

    def x0_of(x, timestep):
        kept = alpha_bar(timestep)
        epsilon = GaussianPixels().epsilon(x.float(), timestep).double()
        return ((x - math.sqrt(1 - kept) * epsilon) / math.sqrt(kept)).clamp(-1, 1)

    x2 = x.double()
    mean = (math.sqrt(alpha_bar(1)) * beta_2 * x0_of(x2, 2) + math.sqrt(1 - beta_2) * (1 - alpha_bar(1)) * x2) / (
        1 - alpha_bar(2)
    )
    x1 = mean + math.sqrt(beta_2 * (1 - alpha_bar(1)) / (1 - alpha_bar(2))) * draws
    drawn = ancestral(GaussianPixels(), x, 2, 2, Noise([9])).double()
    torch.testing.assert_close(drawn, x0_of(x1, 1), rtol=0, atol=1e-4)


def test_steps_are_even_and_never_more_than_there_are_timesteps():
    assert trailing(30, 5) == [30, 24, 18, 12, 6]
    assert trailing(3, 10) == [3, 2, 1]
    assert trailing(1, 1) == [1]
    assert all(len(set(trailing(t, s))) == min(t, s) for t in (1, 7, 30, 166) for s in (1, 2, 5, 50, 166))
