from typing import ClassVar, Literal

from torch import Tensor

from models.defense import Cost, Defense
from models.fcn import weights
from models.noise import Noise


class FCNCurves(Defense):
    """Estimate from the histogram how the attack adv-cf bent the color curves, and bend them back.

    Ours, against the attack that `fcn` is made for and smaller: fully convolutional too, but over the levels of the
    histogram, so that pixels of one color stay of one color and nothing is blurred. Attacks that change every pixel in
    its own way leave nothing there to undo, and a photographer's edit of the curves looks to it like an attack.
    """

    name: Literal["fcn-curves"] = "fcn-curves"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    cost: ClassVar[Cost] = Cost.NETWORK

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        result: Tensor = weights.shipped(self.name, images.device)(images)
        return result
