"""What learned metrics do to an image before their network sees it, on tensors and with exact gradients."""

import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def resized(images: Tensor, height: int, width: int, *, antialias: bool = True) -> Tensor:
    """Resize (N, 3, H, W) bilinearly to an exact size; with antialiasing it is PIL's resize up to 8-bit rounding."""
    if tuple(images.shape[2:]) == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=antialias)


def normalized(images: Tensor) -> Tensor:
    """Subtract ImageNet's mean and divide by its standard deviation, per channel."""
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / std
