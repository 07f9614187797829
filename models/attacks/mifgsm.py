from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.perturbation.sign import sign_steps


class Mifgsm(Attack):
    """I-FGSM with momentum: earlier gradients keep counting, which carries the search over small bumps.

    Dong et al. (CVPR 2018, arXiv 1710.06081), with the parameters of Gushchin et al. (arXiv 2404.06957), whose code
    adds gradients up without normalizing them; so does the default.
    """

    name: Literal["mifgsm"] = "mifgsm"
    source: ClassVar[str] = "arXiv 1710.06081"
    presets: ClassVar = {"step": (0.2, 0.4, 0.8)}

    epsilon: float = Field(10, ge=1, le=64, description="Largest change of a value, in 8-bit levels.")
    step: float = Field(1, ge=0.01, le=64, description="Change of a value in one step, in 8-bit levels.")
    iterations: int = Field(10, ge=1, le=1000, description="Number of steps.")
    momentum: float = Field(1, ge=0, le=1, description="Share of the earlier gradients that each step keeps.")
    normalize: bool = Field(
        False, description="Divide each gradient by its L1 norm before it is added, as in the original publication."
    )

    def budgets(self, images: Tensor) -> Tensor:
        return torch.full((len(images),), self.epsilon)

    def perturb(self, target: Target) -> Tensor:
        return sign_steps(target, self.step / 255, self.iterations, self.momentum, normalize=self.normalize)
