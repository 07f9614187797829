"""What a batch of images is, at every border between our parts: float32 RGB in [0, 1], (N, 3, H, W)."""

import torch
from torch import Tensor

# Float32 is that on CUDA too (docs/decisions/0007): torch would let convolutions round to 10 bits what they multiply.
torch.backends.cudnn.allow_tf32 = False

MIN_SIDE = 16
"""Smallest height and width in pixels; every defense must accept it."""


def check_images(images: Tensor) -> None:
    """Raise ValueError unless `images` is float32 RGB in [0, 1], (N, 3, H, W) with N >= 1, H and W >= 16."""
    if images.dtype != torch.float32 or images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
        raise ValueError(f"images must be float32 (N, 3, H, W), got {images.dtype} {tuple(images.shape)}")
    if min(images.shape[2:]) < MIN_SIDE:
        raise ValueError(f"images must be at least {MIN_SIDE} pixels high and wide, got {tuple(images.shape[2:])}")
    low, high = (value.item() for value in torch.aminmax(images.detach()))
    if not (low >= 0 and high <= 1):
        raise ValueError(f"images must lie in [0, 1], got values from {low} to {high}")


def lasting() -> torch.inference_mode:
    """Return a context for making what is kept for the life of the process.

    It serves gradients later, even where a caller was in `torch.inference_mode` when it was first used.
    """
    return torch.inference_mode(mode=False)


def clamp_to_image(images: Tensor) -> Tensor:
    """Clamp to [0, 1]; the gradient of values within, 0 and 1 included, goes through."""
    # torch.clamp (2.15) stops the gradient of values exactly at its bounds: an attack would not see white or black.
    if not images.requires_grad:
        return images.clamp(0, 1)
    return torch.where(images < 0, 0.0, torch.where(images > 1, 1.0, images))
