"""Adam on the pixels: what the attacks that bound themselves by a penalty instead of a budget have in common."""

from abc import ABC
from typing import final

import torch
from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.progress import tracked


class AdamAttack(Attack, ABC):
    """Steps of Adam on the image itself, clamped to [0, 1] after each.

    Override `penalty` to keep the image near the original, `weigh` to attack some pixels more than others.
    """

    learning_rate: float = Field(
        0.005,
        ge=1e-5,
        le=0.1,
        description="Adam's step size, about the change of a value in one step; 1 is from black to white.",
    )
    iterations: int = Field(10, ge=1, le=1000, description="Number of steps.")

    def penalty(self, images: Tensor, originals: Tensor) -> Tensor | None:
        """Return a differentiable term per image, (N,), that is added to its loss. Default: None."""
        return None

    def weigh(self, originals: Tensor) -> Tensor | None:
        """Return what the gradient of the loss is multiplied by, (N, 1 or 3, H, W). Default: None."""
        return None

    @final
    def perturb(self, target: Target) -> Tensor:
        images = target.images.clone()
        weight = self.weigh(target.images)
        adam = torch.optim.Adam([images], lr=self.learning_rate)
        for _ in tracked(range(self.iterations)):
            gradient = target.gradient(images).gradient
            if (slope := self._slope_of_penalty(images, target.images)) is not None:
                gradient += slope
            images.grad = gradient if weight is None else gradient.mul_(weight)
            adam.step()
            images.clamp_(0, 1)
        return images

    def _slope_of_penalty(self, images: Tensor, originals: Tensor) -> Tensor | None:
        leaf = images.detach().requires_grad_()
        with torch.enable_grad():
            penalty = self.penalty(leaf, originals)
            return None if penalty is None else torch.autograd.grad(penalty.sum(), leaf)[0]
