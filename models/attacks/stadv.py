from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.progress import tracked
from models.tensors import clamp_to_image

TARGET_SCORE = 1.5


class Stadv(Attack):
    """Move pixels a little instead of changing their values: a smooth flow that the metric sees and the eye does not.

    stAdv, Xiao et al. (ICLR 2018, arXiv 1801.02612), with the parameters of Guardians of Image Quality
    (arXiv 2408.01541): L-BFGS on the flow; the loss of a claimed quality q, in units of the metric's range, is
    50 * 1.5 / (q + 1.5), plus the flow's roughness. Its steps may overshoot, so the best of them is kept. Through a
    random defense each is compared with the best so far through the same draws, which costs two queries more.
    """

    name: Literal["stadv"] = "stadv"
    source: ClassVar[str] = "arXiv 1801.02612"

    learning_rate: float = Field(2.5, ge=0.001, le=100, description="Step size of L-BFGS.")
    iterations: int = Field(3, ge=1, le=1000, description="Number of steps.")
    weight: float = Field(1e-5, ge=0, le=1, description="Weight of the flow's roughness, relative to the loss.")

    def perturb(self, target: Target) -> Tensor:
        # One by one: L-BFGS would mix the images of a batch.
        return torch.cat([self._perturb_one(target.of(index)) for index in range(len(target.images))])

    def _perturb_one(self, target: Target) -> Tensor:
        flow = torch.zeros_like(target.images[:, :2])
        best, lowest = target.images, torch.full((1,), torch.inf).to(flow)
        lbfgs = torch.optim.LBFGS([flow], lr=self.learning_rate, max_iter=1)

        def loss() -> Tensor:
            nonlocal best, lowest
            leaf = flow.detach().requires_grad_()
            with torch.enable_grad():
                images = move(target.images, leaf)
                roughness = self.weight * _roughness(leaf)
            told, gradient = target.gradient(images)
            best, lowest = target.better(best, lowest, images.detach(), told)
            room = (1 - told + TARGET_SCORE).clamp(min=0.1)
            outer = 50 * TARGET_SCORE / room**2
            (flow.grad,) = torch.autograd.grad(
                (images, roughness), leaf, (outer.view(-1, 1, 1, 1) * gradient, torch.ones_like(roughness))
            )
            return 50 * TARGET_SCORE / room + roughness.detach()

        for _ in tracked(range(self.iterations)):
            lbfgs.step(loss)  # type: ignore[no-untyped-call]
        return target.better(best, lowest, move(target.images, flow))[0]


def move(images: Tensor, flow: Tensor) -> Tensor:
    """Return images whose every pixel is taken from `flow` (N, 2, H, W: down, right) pixels away, bilinearly."""
    height, width = images.shape[2:]
    rows = torch.arange(height).to(images)[:, None] + flow[:, 0]
    columns = torch.arange(width).to(images) + flow[:, 1]
    grid = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], dim=3)
    return clamp_to_image(F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True))


def _roughness(flow: Tensor) -> Tensor:
    down, right = flow.diff(dim=2)[..., :-1], flow.diff(dim=3)[..., :-1, :]
    return (down.square() + right.square()).sum(dim=1).add(1e-9).sqrt().sum()
