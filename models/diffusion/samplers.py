"""From a noisy image back to a clean one: plain functions that take a denoiser, the noisy image and the noise.

`x` is the image in [-1, 1] diffused for `timestep` steps, (N, 3, H, W): sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise.
Every sampler returns x0, and with one step all of them return the posterior mean. Schedulers are those of diffusers.
"""

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor

from models.diffusion.denoiser import Denoiser
from models.diffusion.schedule import BETA_END, BETA_START, STEPS, alpha_bar
from models.noise import Noise
from models.progress import tracked

Sampler = Callable[[Denoiser, Tensor, int, int, Noise], Tensor]


def ancestral(denoiser: Denoiser, x: Tensor, timestep: int, steps: int, noise: Noise) -> Tensor:
    """Draw from the posterior by DDPM's ancestral chain (Ho et al. 2020, algorithm 2), the one that DiffPure runs.

    The variance is the learned one where the denoiser has it (Nichol, Dhariwal 2021, section 3.1), else the smaller of
    DDPM's two. With steps = timestep every step is taken, exactly as guided-diffusion's `p_sample_loop`.
    """
    from diffusers import DDPMScheduler

    places = trailing(timestep, steps)
    scheduler: Any = None
    for place in tracked(places):
        output = denoiser.epsilon(x, place)
        if scheduler is None:
            variance = "learned_range" if output.shape[1] == 6 else "fixed_small"
            scheduler = cast("Any", DDPMScheduler)(**_LINEAR, clip_sample=True, variance_type=variance)
            scheduler.set_timesteps(timesteps=[one - 1 for one in places])
        result = scheduler.step(output, place - 1, x, generator=noise.generators)
        x = result.prev_sample
    return _clip(result.pred_original_sample)


def ddim(denoiser: Denoiser, x: Tensor, timestep: int, steps: int, _noise: Noise) -> Tensor:
    """Follow the probability-flow ODE by DDIM (Song, Meng, Ermon 2021, equation 12 with sigma 0): no new noise."""
    # Three lines, because DDIMScheduler (diffusers 0.42) can neither start late nor take a list of steps.
    places = trailing(timestep, steps)
    for place, following in tracked(list(zip(places, [*places[1:], 0], strict=True))):
        kept, kept_after = alpha_bar(place), alpha_bar(following)
        epsilon = denoiser.epsilon(x, place)[:, :3]
        clean = _clip((x - (1 - kept) ** 0.5 * epsilon) / kept**0.5)
        x = kept_after**0.5 * clean + (1 - kept_after) ** 0.5 * epsilon
    return x


def dpm_solver(denoiser: Denoiser, x: Tensor, timestep: int, steps: int, _noise: Noise) -> Tensor:
    """Follow the same ODE by DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), which needs the fewest steps."""
    from diffusers import DPMSolverMultistepScheduler

    places = trailing(timestep, steps)
    scheduler = cast("Any", DPMSolverMultistepScheduler)(
        **_LINEAR, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero", lower_order_final=True
    )
    scheduler.set_timesteps(timesteps=[place - 1 for place in places])
    for place in tracked(places):
        x = scheduler.step(denoiser.epsilon(x, place)[:, :3], place - 1, x).prev_sample
    return _clip(x)


SAMPLERS: dict[str, Sampler] = {"ancestral": ancestral, "ddim": ddim, "dpm-solver": dpm_solver}


def trailing(timestep: int, steps: int) -> list[int]:
    """Return at most `steps` timesteps from `timestep` down, evenly spaced, the last of which leads to 0."""
    count = min(steps, timestep)
    return [round(timestep * (count - done) / count) for done in range(count)]


_LINEAR = {
    "num_train_timesteps": STEPS,
    "beta_start": BETA_START,
    "beta_end": BETA_END,
    "beta_schedule": "linear",
}


def _clip(x: Tensor) -> Tensor:
    return x.clamp(-1, 1)
