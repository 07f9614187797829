"""Zhang et al.'s attack with a learned distance as its penalty; which one decides whether it can be used here."""

from abc import ABC
from typing import ClassVar

from torch import Tensor

from models.availability import Availability
from models.evaluation import perceptual
from models.perturbation.adam import AdamAttack


class LearnedZhangAttack(AdamAttack, ABC):
    """Adam on the pixels; the loss is that of the score plus the distance from the original."""

    distance: ClassVar[perceptual.Name]
    source: ClassVar[str] = "arXiv 2210.00933"
    presets: ClassVar = {"learning_rate": (7.7e-4, 1.55e-3, 3.1e-3)}

    @property
    def min_side(self) -> int:
        return perceptual.MIN_SIDE

    def availability(self) -> Availability:
        return perceptual.availability(self.distance)

    def penalty(self, images: Tensor, originals: Tensor) -> Tensor:
        return perceptual.distance(self.distance, images, originals)
