from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.perturbation.sign import sign_steps


class Ifgsm(Attack):
    """Change every value in many small steps, in the direction of the gradient's sign, within a budget.

    Kurakin et al. (2017, arXiv 1607.02533), with the parameters of Gushchin et al. (arXiv 2404.06957). Guardians of
    Image Quality (arXiv 2408.01541) varies the step such that ten of them reach 2, 4 and 8 levels.
    """

    name: Literal["ifgsm"] = "ifgsm"
    source: ClassVar[str] = "arXiv 1607.02533"
    presets: ClassVar = {"step": (0.2, 0.4, 0.8)}

    epsilon: float = Field(10, ge=1, le=64, description="Largest change of a value, in 8-bit levels.")
    step: float = Field(1, ge=0.01, le=64, description="Change of a value in one step, in 8-bit levels.")
    iterations: int = Field(10, ge=1, le=1000, description="Number of steps.")

    def budgets(self, images: Tensor) -> Tensor:
        return torch.full((len(images),), self.epsilon)

    def perturb(self, target: Target) -> Tensor:
        return sign_steps(target, self.step / 255, self.iterations)
