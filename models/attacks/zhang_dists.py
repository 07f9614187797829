from typing import ClassVar, Literal

from models.evaluation.perceptual import NEEDS
from models.perturbation.zhang import LearnedZhangAttack


class ZhangDists(LearnedZhangAttack):
    """Change the score while DISTS, a learned distance of structure and texture to the original, stays small.

    Zhang et al. (NeurIPS 2022, arXiv 2210.00933), with the parameters of Gushchin et al. (arXiv 2404.06957).
    """

    name: Literal["zhang-dists"] = "zhang-dists"
    distance: ClassVar = "DISTS"
    weights: ClassVar[tuple[str, ...]] = tuple(weight.name for weight in NEEDS["DISTS"])
