"""Images as tensors, as PIL holds them, and as 8 bits leave them."""

import contracts.test_every_metric as promises
import numpy as np
import torch
from PIL import Image


def photo(height, width, seed=0):
    return promises.pictures(1, height, width, seed)


def as_pil(image):
    return Image.fromarray((image[0].permute(1, 2, 0) * 255).round().byte().numpy())


def as_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def quantized(image):
    return (image * 255).round() / 255
