import pytest
import torch

from models.diffusion.schedule import STEPS, alpha_bar, sigma_of, timestep_of


@pytest.mark.parametrize(
    ("timestep", "sigma"), [(5, 3.4), (10, 5.6), (20, 9.7), (30, 13.8), (50, 22.0), (100, 43.2), (150, 66.1)]
)
def test_the_noise_of_a_timestep_is_that_of_diffpure(timestep, sigma):
    assert sigma_of(timestep) * 255 == pytest.approx(sigma, abs=0.05)


def test_no_step_is_no_noise():
    assert sigma_of(0) == 0
    assert alpha_bar(0) == 1
    assert timestep_of(0) == 0


def test_every_timestep_comes_back_from_its_sigma():
    for timestep in range(STEPS + 1):
        assert timestep_of(sigma_of(timestep)) == pytest.approx(timestep, abs=1e-9)


def test_the_last_timestep_comes_back_from_a_sigma_in_float32():
    assert timestep_of(float(torch.tensor(sigma_of(STEPS)))) == STEPS


def test_between_two_sigmas_lies_a_fraction_of_a_timestep():
    middle = (sigma_of(20) + sigma_of(21)) / 2
    assert timestep_of(middle) == pytest.approx(20.5)


def test_the_table_is_that_of_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear").alphas_cumprod
    for timestep in (1, 2, 30, 150, 1000):
        assert alpha_bar(timestep) == pytest.approx(float(theirs[timestep - 1]), rel=1e-5)


@pytest.mark.parametrize("timestep", [-1, 1001])
def test_a_timestep_out_of_range_is_refused(timestep):
    with pytest.raises(ValueError, match="between 0 and 1000"):
        sigma_of(timestep)


@pytest.mark.parametrize("sigma", [-0.1, 1e6, float("nan")])
def test_a_sigma_out_of_range_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma must be between"):
        timestep_of(sigma)
