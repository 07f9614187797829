import math
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.progress import tracked


class Nes(Attack):
    """Black-box: estimate the gradient from the scores of pairs of noisy copies, and follow it.

    Natural evolution strategies, Ilyas et al. (ICML 2018, arXiv 1804.08598), with the parameters of "grad-est" in
    Guardians of Image Quality (arXiv 2408.01541): noise of 32x32 pixels, repeated over the image, steps of one length.
    The budget, which they do not have, is what those steps stay below. Noise of less than half a level does not get
    through a defense that rounds to 8 bits: raise `sigma` for it.
    """

    name: Literal["nes"] = "nes"
    white_box: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv 1804.08598"
    presets: ClassVar = {"epsilon": (2, 4, 8)}

    epsilon: float = Field(25.5, ge=1, le=64, description="Largest change of a value, in 8-bit levels.")
    queries: int = Field(10_000, ge=2, le=1_000_000, description="Largest number of scores per image, per draw.")
    pairs: int = Field(20, ge=1, le=1000, description="Pairs of noisy copies per estimate of the gradient.")
    sigma: float = Field(
        0.001, ge=0.0001, le=0.1, description="Standard deviation of the noise; 1 is from black to white."
    )
    step: float = Field(
        0.1, ge=0.001, le=100, description="Euclidean length of a step, where 1 is from black to white."
    )
    tile: int = Field(
        32, ge=1, le=128, description="Side in pixels of the noise square that is repeated over the image."
    )

    def budgets(self, images: Tensor) -> Tensor:
        return torch.full((len(images),), self.epsilon)

    def perturb(self, target: Target) -> Tensor:
        return torch.cat([self._perturb_one(target.of(index)) for index in range(len(target.images))])

    def _perturb_one(self, target: Target) -> Tensor:
        if target.budget is None:
            raise ValueError(f"{self.name} needs a budget")
        low, high = (target.images - target.budget).clamp_(min=0), (target.images + target.budget).clamp_(max=1)
        pairs = min(self.pairs, self.queries // 2)
        images = target.images.clone()
        for _ in tracked(range(self.queries // (2 * pairs))):
            tiles = self._tiles(target, pairs)
            both = torch.cat([tiles, -tiles])
            losses = target.losses(2 * pairs, partial(self._copies, images, both))
            gradient = _repeated(torch.einsum("p,pchw->chw", losses[:pairs] - losses[pairs:], tiles)[None], images)
            images = (images - self.step * gradient / gradient.norm().clamp(min=1e-20)).clamp_(low, high)
        return images

    def _tiles(self, target: Target, pairs: int) -> Tensor:
        height, width = (min(self.tile, edge) for edge in target.images.shape[2:])
        tiles = torch.empty(pairs, 3, height, width).normal_(generator=target.noise.generators[0])
        return tiles.to(target.images)

    def _copies(self, image: Tensor, tiles: Tensor, some: slice) -> Tensor:
        return (image + self.sigma * _repeated(tiles[some], image)).clamp_(0, 1)


def _repeated(tiles: Tensor, image: Tensor) -> Tensor:
    """Return tiles, (N, 3, h, w), side by side to the size of the image."""
    height, width = image.shape[2:]
    times = math.ceil(height / tiles.shape[2]), math.ceil(width / tiles.shape[3])
    return tiles.repeat(1, 1, *times)[..., :height, :width]
