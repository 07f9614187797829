"""The networks that others purify with, with random weights: as slow as the real ones."""

from collections.abc import Callable
from typing import Any, cast

import torch
from diffusers import UNet2DModel
from torch import Tensor


def small_unet() -> Callable[[Tensor], Tensor]:
    """The UNet of a small diffusers model: 4 levels of 32, 64, 128, 128 channels with group normalization."""
    return _evaluate(
        sample_size=256,
        block_out_channels=(32, 64, 128, 128),
        down_block_types=("DownBlock2D",) * 4,
        up_block_types=("UpBlock2D",) * 4,
        layers_per_block=2,
        norm_num_groups=32,
    )


def adm_256() -> Callable[[Tensor], Tensor]:
    """ADM-256, the network of DiffPure: 553 million parameters (Dhariwal, Nichol 2021)."""
    from models.diffusion.adm import adm_config

    return _evaluate(**adm_config())


def _evaluate(**config: Any) -> Callable[[Tensor], Tensor]:
    network = cast("Any", UNet2DModel)(**config).eval()
    return lambda image: cast("Tensor", network(image, torch.tensor([30.0]), return_dict=False)[0])
