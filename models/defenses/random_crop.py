from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.defense import Aligned, Defense
from models.noise import Noise
from models.tensors import MIN_SIDE


class RandomCrop(Defense):
    """Keep a random square: an attack on the whole image cannot know which part will be scored.

    Gushchin et al. (arXiv 2404.06957) keep 256 pixels of 299. A side that is shorter than the crop is kept whole.
    """

    name: Literal["random-crop"] = "random-crop"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    presets: ClassVar = {"size": (32, 64, 128, 256, 288)}

    size: int = Field(256, ge=MIN_SIDE, le=2048, description="Side of the square in pixels.")

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return min(self.size, size[0]), min(self.size, size[1])

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        windows = self._windows((images.shape[2], images.shape[3]), noise)
        return torch.stack([image[..., *window] for image, window in zip(images, windows, strict=True)])

    def restore(self, purified: Tensor, size: tuple[int, int], noise: Noise) -> Aligned:
        images = purified.new_zeros(*purified.shape[:2], *size)
        valid = torch.zeros(len(purified), 1, *size, dtype=torch.bool, device=purified.device)
        for index, window in enumerate(self._windows(size, noise)):
            images[index, :, *window] = purified[index]
            valid[index, :, *window] = True
        return Aligned(images, valid)

    def _windows(self, size: tuple[int, int], noise: Noise) -> Iterator[tuple[slice, slice]]:
        height, width = self.output_size(size)
        tops, lefts = noise.integers(0, size[0] - height), noise.integers(0, size[1] - width)
        for top, left in zip(tops, lefts, strict=True):
            yield slice(top, top + height), slice(left, left + width)
