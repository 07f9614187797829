"""What the restoring defenses have in common: which network, its tiles, and the way back to the wanted size."""

import math
from abc import abstractmethod
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from models import checkpoints
from models.availability import Availability
from models.defense import WORK, Cost, Defense
from models.noise import Noise
from models.restoration import networks as restoration
from models.restoration.restorer import resized
from models.tensors import MIN_SIDE


class RestorationDefense(Defense):
    """Run a network that was added as weights over the image, in tiles if it is large, and resize its output.

    The network's own scale is undone by torch's anti-aliased bicubic interpolation, which has an exact gradient;
    Real-ESRGAN's code uses OpenCV's Lanczos (INTER_LANCZOS4), which does not average when it shrinks.
    """

    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    cost: ClassVar[Cost] = Cost.NETWORK

    outscale: float = Field(1, ge=0.25, le=4, description="Side length of the output relative to the input.")
    tile: int = Field(
        256,
        ge=64,
        le=1024,
        description="Side in pixels of the tile that the network sees at once; larger tiles need more memory.",
    )

    @property
    @abstractmethod
    def weights_name(self) -> str:
        """The name of the added weights."""

    def availability(self) -> Availability:
        entries = (entry.published for entry in restoration.PUBLISHED)
        published = next((one for one in entries if one.name == self.weights_name), None)
        return checkpoints.availability(self.weights_name, restoration.KIND, published)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        # 1e-9: a product such as 100 * 0.29 = 28.999999999999996 means 29.
        height, width = (max(MIN_SIDE, int(side * self.outscale + 1e-9)) for side in size)
        return height, width

    def work(self, size: tuple[int, int]) -> float:
        return size[0] * size[1] * WORK[Cost.DIFFUSION]  # one pass of a network that is large at full resolution

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        size = self.output_size((images.shape[2], images.shape[3]))
        network = restoration.load(self.weights_name, images.device)
        restored = network.in_tiles(images, self.tile, most=math.ceil(self.outscale))
        return resized(restored, size)
