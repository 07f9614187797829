from typing import ClassVar, Literal

from pydantic import Field

from models.restoration.defense import RestorationDefense
from models.restoration.networks import MPRNET


class MPRNet(RestorationDefense):
    """Denoise with MPRNet, a three-stage network trained on the noise of real cameras.

    Zamir et al. (CVPR 2021, arXiv 2102.02808), as in Gushchin et al. (arXiv 2404.06957): the denoising weights, the
    image mirrored to multiples of 8, the last stage's output. They use no tiles: images up to `tile` are restored as a
    whole, larger ones in tiles that fade into each other, because the network looks at the means of all it sees.
    """

    name: Literal["mprnet"] = "mprnet"
    weights: ClassVar[tuple[str, ...]] = (MPRNET.name,)
    license: ClassVar[str] = "Apache-2.0 (code), Academic Public License, noncommercial (weights)"

    tile: int = Field(
        512,
        ge=64,
        le=1024,
        description="Side in pixels of the tile that the network sees at once; larger tiles need more memory.",
    )

    @property
    def weights_name(self) -> str:
        return MPRNET.name
