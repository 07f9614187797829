from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from models import checkpoints
from models.availability import AVAILABLE, Availability
from models.defense import Cost, Defense
from models.fcn import weights
from models.noise import Noise


class FCN(Defense):
    """Filter with a tiny network trained to undo the bent color curves of the attack adv-cf.

    The FCN filter of Gushchin et al. (arXiv 2404.06957): their architecture, and RGB in [0, 1] in, clamped to that at
    the end, at any size. Their weights were trained on Linearity and have to be added by hand; the shipped ones
    were trained on `fr-surrogate` with their recipe, for fewer epochs. The network cannot output pure white, because it
    ends with a tanh, and does not know how bright an image is, because of its instance normalization.
    """

    name: Literal["fcn"] = "fcn"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    cost: ClassVar[Cost] = Cost.NETWORK
    license: ClassVar[str] = "Apache-2.0 (code, shipped weights), not stated (published weights)"

    network: Literal["shipped", "published"] = Field(
        "shipped",
        description="Weights: shipped, or the authors', after `purifiqa weights add fcn-published FILE`.",
    )

    def availability(self) -> Availability:
        if self.network == "shipped":
            return AVAILABLE
        return checkpoints.availability(weights.CHECKPOINT.name, weights.KIND, weights.CHECKPOINT)

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        shipped = self.network == "shipped"
        network = weights.shipped(self.name, images.device) if shipped else weights.published(images.device)
        result: Tensor = network(images)
        return result
