"""How a UNet becomes one of the added weights: it is tried on a small picture, and only then kept."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import checkpoints
from models.checkpoints import CheckpointError, Facts
from models.defense import PurificationError
from models.diffusion.schedule import sigma_of
from models.diffusion.unet import denoise
from models.diffusion.unet_files import KIND, build, read_config, read_license, read_weights, weights_file

TRIAL_TIMESTEP = 50
MIN_SIDE = 64


def adopt(name: str, folder: Path) -> Facts:
    """Add the UNet2DModel in a folder as diffusers saves it under `name`. Raises CheckpointError."""
    checkpoints.folder(name)
    try:
        config = read_config(folder)
        return keep(name, weights_file(folder), config, read_weights(folder, config), read_license(folder))
    except CheckpointError as error:
        raise CheckpointError(f"{error}; give the folder in which diffusers saved a trained UNet2DModel") from error


def keep(name: str, file: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], terms: str) -> Facts:
    """Try the network and keep it with its configuration, license and gain in dB. Raises CheckpointError."""
    facts = {"unet": dict(config), "license": terms, "gain_db": _gain(file, config, state)}
    return checkpoints.add(name, KIND, file, state, facts)


def _gain(file: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> float:
    """Return by how many dB the network brings a noisy picture closer to the clean one. Raises CheckpointError."""
    side = max(MIN_SIDE, 2 ** (len(config["block_out_channels"]) - 1))
    clean = _picture(side)
    sigma = sigma_of(TRIAL_TIMESTEP)
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            restored = denoise(build(config, state).float(), noisy, torch.tensor([sigma]))
    except PurificationError as error:
        raise CheckpointError(f"{file} is damaged: it turns a small image into NaN or infinity") from error
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{file} does not run: {(str(error).splitlines() or [''])[0]}") from error
    before, after = ((image - clean).square().mean().item() for image in (noisy.clamp(0, 1), restored))
    return round(10 * math.log10(before / max(after, 1e-12)), 2)


def _picture(side: int) -> Tensor:
    """Return a smooth picture with an edge, (1, 3, side, side) in [0, 1]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    picture = torch.stack([0.2 + 0.6 * x, 0.7 - 0.4 * y, 0.5 + 0.2 * torch.sin(5 * (x + y))])
    picture[:, (x - 0.5).square() + (y - 0.5).square() < 0.08] *= 0.5
    return picture[None]
