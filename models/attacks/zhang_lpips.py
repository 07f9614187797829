from typing import ClassVar, Literal

from models.evaluation.perceptual import NEEDS
from models.perturbation.zhang import LearnedZhangAttack


class ZhangLpips(LearnedZhangAttack):
    """Change the score while LPIPS, a learned distance to the original, stays small.

    Zhang et al. (NeurIPS 2022, arXiv 2210.00933), with the step that Gushchin et al. (arXiv 2404.06957) list.
    """

    name: Literal["zhang-lpips"] = "zhang-lpips"
    distance: ClassVar = "LPIPS"
    weights: ClassVar[tuple[str, ...]] = tuple(weight.name for weight in NEEDS["LPIPS"])
