from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.progress import tracked

PIECES = 64


class AdvCf(Attack):
    """Bend the color curves: no pixel stands out, because equal colors stay equal everywhere.

    Adversarial color filter, Zhao et al. (BMVC 2020, arXiv 2002.01008; AdvCF in IEEE TIFS 2023), as Gushchin et al.
    (arXiv 2404.06957) used it: one curve per channel of 64 straight pieces whose slopes Adam moves, with a penalty for
    curves that are not straight; the best of all steps is kept. Through a random defense each step is compared with the
    best so far through the same draws, which costs two queries more.
    """

    name: Literal["adv-cf"] = "adv-cf"
    source: ClassVar[str] = "arXiv 2002.01008"
    presets: ClassVar = {"iterations": (1, 2, 5, 10, 20)}

    learning_rate: float = Field(0.1, ge=1e-4, le=1, description="Adam's step size on the slopes, whose mean is 1/64.")
    iterations: int = Field(10, ge=1, le=1000, description="Number of steps.")
    weight: float = Field(0.5, ge=0, le=1000, description="Weight of the penalty for curves that are not straight.")

    def perturb(self, target: Target) -> Tensor:
        slopes = torch.full((len(target.images), 3, PIECES), 1 / PIECES).to(target.images)
        levels = target.images.mul(255).round_().long().flatten(2)
        adam = torch.optim.Adam([slopes], lr=self.learning_rate)
        best, lowest = target.images, torch.full((len(slopes),), torch.inf).to(slopes)
        for _ in tracked(range(self.iterations)):
            leaf = slopes.detach().requires_grad_()
            with torch.enable_grad():
                images = apply_curves(leaf, levels).view_as(best)
                penalty = self.weight * (_normalized(leaf) - 1 / PIECES).square().sum()
            loss, gradient = target.gradient(images)
            best, lowest = target.better(best, lowest, images.detach(), loss)
            (slopes.grad,) = torch.autograd.grad((images, penalty), leaf, (gradient, torch.ones_like(penalty)))
            adam.step()
            slopes.clamp_(min=0)
        images = apply_curves(slopes, levels).view_as(best)
        return target.better(best, lowest, images)[0]


def apply_curves(slopes: Tensor, levels: Tensor) -> Tensor:
    """Return the image that curves make of 8-bit levels, float32 in [0, 1]; both differentiable in the slopes.

    `slopes` is (N, 3, 64), not negative; they are scaled so that 1 stays 1. `levels` is int64, (N, 3, H * W).
    """
    inputs = torch.linspace(0, 1, 256, device=slopes.device)
    starts = torch.arange(PIECES, device=slopes.device)[:, None] / PIECES
    climbed = (inputs - starts).clamp(0, 1 / PIECES)  # how far into each piece each level reaches
    table = PIECES * _normalized(slopes) @ climbed
    return table.clamp(max=1).gather(2, levels)


def _normalized(slopes: Tensor) -> Tensor:
    return slopes / slopes.sum(dim=2, keepdim=True).clamp(min=1e-9)
