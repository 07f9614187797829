from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from models.attack import Attack
from models.attack_target import Target
from models.availability import Availability
from models.metric import UndefinedScoreError
from models.metrics import find_metric
from models.perturbation.sign import sign_steps

NIQE = "niqe"


class Amifgsm(Attack):
    """MI-FGSM with a budget that depends on the image: the better its NIQE score, the larger the budget.

    Sang et al. (The Visual Computer, 2023): the budget is k / NIQE of the clean image. Public codes disagree about k
    (1/8, 1/2, 1, or a fixed budget of 10 levels); the default, 1/8, gives 10 levels at NIQE 3.18, the budget of the
    other two in Gushchin et al. (arXiv 2404.06957).
    """

    name: Literal["amifgsm"] = "amifgsm"
    source: ClassVar[str] = "Sang et al., On the generation of adversarial examples for image quality assessment, 2023"
    presets: ClassVar = {"k": (0.0625, 0.125, 0.25, 0.5)}

    k: float = Field(
        0.125,
        ge=0.01,
        le=1,
        description="The budget is k / NIQE, where 1 is from black to white; at least one 8-bit level.",
    )
    iterations: int = Field(
        10, ge=1, le=1000, description="Number of steps; each changes values by the budget divided by it."
    )
    momentum: float = Field(1, ge=0, le=1, description="Share of the earlier gradients that each step keeps.")
    normalize: bool = Field(
        False, description="Divide each gradient by its L1 norm before it is added, as in the original publication."
    )

    @property
    def min_side(self) -> int:
        return find_metric(NIQE).card.min_side

    def availability(self) -> Availability:
        return find_metric(NIQE).availability()

    def budgets(self, images: Tensor) -> Tensor:
        # NIQE is about 2 to 8 for photographs; below 1 the budget would grow without a limit, below a level it is none.
        try:
            unnaturalness = find_metric(NIQE)(images)
        except UndefinedScoreError as error:  # not of the metric that is attacked, which may well have a score
            raise UndefinedScoreError(f"{self.name} has no budget for this image: {error}") from error
        return (255 * self.k / unnaturalness.clamp(min=1)).clamp(min=1)

    def perturb(self, target: Target) -> Tensor:
        if target.budget is None:
            raise ValueError(f"{self.name} needs a budget")
        step = target.budget / self.iterations
        return sign_steps(target, step, self.iterations, self.momentum, normalize=self.normalize)
