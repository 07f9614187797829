from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.perturbation.sign import sign_steps


class Fgsm(Attack):
    """Change every value by the whole budget in one step, in the direction of the gradient's sign.

    Goodfellow et al. (2015, arXiv 1412.6572).
    """

    name: Literal["fgsm"] = "fgsm"
    source: ClassVar[str] = "arXiv 1412.6572"
    presets: ClassVar = {"epsilon": (2, 4, 8, 16)}

    epsilon: float = Field(10, ge=1, le=64, description="Largest change of a value, in 8-bit levels.")

    def budgets(self, images: Tensor) -> Tensor:
        return torch.full((len(images),), self.epsilon)

    def perturb(self, target: Target) -> Tensor:
        return sign_steps(target, self.epsilon / 255, iterations=1)
