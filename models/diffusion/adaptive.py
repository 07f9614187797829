"""Choose the timestep per image: the more an image looks disturbed to the denoiser, the more noise purifies it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.diffusion.denoiser import Denoiser
from models.diffusion.schedule import sigma_of, timestep_of

PROBE = 10
"""Timestep at which the denoiser looks at the image."""
LEAST, MOST = 5, 50
"""What may be chosen: the range that Guardians of Image Quality (arXiv 2408.01541) sweeps."""
GAIN = 2.0
"""Sigma of the chosen timestep, as a multiple of the disturbance that was seen."""
BLOCK = 8
SMOOTH_SHARE = 0.1


@torch.no_grad()
def auto_timesteps(denoiser: Denoiser, images: Tensor) -> list[int]:
    """Return a timestep in [5, 50] for each image, from what the denoiser would take away from it at timestep 10.

    What it takes away, over sigma squared, is the score that SSNI (2025) goes by: its size says how far the
    image is from the clean ones. Texture is taken away too, so the size is that of the calmest tenth of 8x8 blocks.
    """
    sigma = torch.full((len(images),), sigma_of(PROBE), device=images.device)
    removed = denoiser.mean(images, sigma).sub_(images)
    power = F.avg_pool2d(removed.square_(), BLOCK).mean(dim=1).flatten(1)
    calm = power.quantile(SMOOTH_SHARE, dim=1).sqrt()
    return [min(MOST, max(LEAST, round(timestep_of(GAIN * float(size))))) for size in calm]
