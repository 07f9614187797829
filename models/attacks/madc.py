from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.progress import tracked

STEP_BACK = 0.0005


class Madc(Attack):
    """Change the score along directions that keep the distance to the original, as MAD competition does.

    Wang and Simoncelli (2008): from the second step on, the part of the gradient along that of the root mean square
    error is taken away. As in the code that Gushchin et al. (arXiv 2404.06957) used, a step follows the sign of what is
    left, and small steps back are taken while the error is over its limit.
    """

    name: Literal["madc"] = "madc"
    source: ClassVar[str] = "Wang and Simoncelli, Maximum differentiation competition, 2008"
    presets: ClassVar = {"learning_rate": (9.8e-4, 1.96e-3, 3.92e-3)}

    learning_rate: float = Field(
        0.001, ge=1e-5, le=0.1, description="Change of a value in one step; 1 is from black to white."
    )
    epsilon: float = Field(10, ge=0.5, le=64, description="Largest root-mean-square change, in 8-bit levels.")
    iterations: int = Field(8, ge=1, le=1000, description="Number of steps.")

    def perturb(self, target: Target) -> Tensor:
        images = target.images.clone()
        for _ in tracked(range(self.iterations)):
            gradient = target.gradient(images).gradient
            step = self.learning_rate * _without(gradient, images - target.images).sign()
            images = self._step_back((images - step).clamp_(0, 1), target.images)
        rounded = images.mul(255).round_().div_(255)
        inward = target.images + ((images - target.images) * 255).trunc_() / 255
        return torch.where(self._is_far(rounded, target.images), inward, rounded)

    def _step_back(self, images: Tensor, originals: Tensor) -> Tensor:
        while bool((far := self._is_far(images, originals)).any()):
            change = images - originals
            back = change.sign() * torch.minimum(change.abs(), torch.tensor(STEP_BACK))
            images = torch.where(far, images - back, images)
        return images

    def _is_far(self, images: Tensor, originals: Tensor) -> Tensor:
        error = (images - originals).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return error > self.epsilon / 255 + 1e-6


def _without(gradient: Tensor, direction: Tensor) -> Tensor:
    """Return each image's gradient less its part along the direction; the gradient itself where that is zero."""
    along = (gradient * direction).sum(dim=(1, 2, 3), keepdim=True)
    length = direction.square().sum(dim=(1, 2, 3), keepdim=True)
    return gradient - along / length.clamp(min=1e-20) * direction
