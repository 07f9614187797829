from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from models.defense import Defense, PurificationError
from models.noise import Noise

SAMPLING = {
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}


class Jpeg(Defense):
    """Compress and decompress with the real JPEG codec, which drops what the eye does not miss.

    Gushchin et al. (arXiv 2404.06957) hand OpenCV the channels in the wrong order, so that red and blue trade their
    weights in the brightness: `channel_order` "bgr" reproduces theirs. Guardians of Image Quality (arXiv 2408.01541)
    cuts the fractions off instead of rounding to 8 bits, half a level darker: `rounding` "down" reproduces theirs.
    """

    name: Literal["jpeg"] = "jpeg"
    differentiable: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    presets: ClassVar = {"quality": (10, 30, 50, 70, 90)}

    quality: int = Field(50, ge=1, le=100, description="JPEG quality, from 1 (worst) to 100.")
    subsampling: Literal["4:2:0", "4:4:4"] = Field(
        "4:2:0", description="Color resolution: 4:2:0 is half, as usual; 4:4:4 is full."
    )
    channel_order: Literal["rgb", "bgr"] = Field(
        "rgb", description="Channel order that the codec assumes; bgr swaps the weights of red and blue."
    )
    rounding: Literal["nearest", "down"] = Field("nearest", description="How values are rounded to 8-bit levels.")

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        levels = images.detach() * 255
        levels = levels.round_() if self.rounding == "nearest" else levels.floor_()
        pixels = levels.to("cpu", torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        decoded = torch.from_numpy(np.stack([self._recode(image) for image in pixels]))
        return decoded.to(images.device).permute(0, 3, 1, 2).float().div_(255)

    def _recode(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        swapped = self.channel_order == "bgr"  # OpenCV encodes arrays that it believes to be in the order BGR
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            self.quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            SAMPLING[self.subsampling],
        ]
        done, data = cv2.imencode(".jpg", pixels if swapped else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR_BGR if swapped else cv2.IMREAD_COLOR_RGB) if done else None
        if decoded is None:
            raise PurificationError(f"OpenCV could not recode an image of {pixels.shape[1]}x{pixels.shape[0]} pixels")
        return decoded
