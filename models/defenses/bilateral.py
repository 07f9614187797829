import math
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor

from models.defense import Defense
from models.filters import ODD_SCHEMA, check_odd, runs_on_opencv
from models.noise import Noise

Diameter = Annotated[int, Field(ge=3, le=15, json_schema_extra=ODD_SCHEMA), AfterValidator(check_odd)]


class Bilateral(Defense):
    """Average nearby pixels of similar color: flat regions become smooth, edges stay.

    Tomasi and Manduchi (ICCV 1998) as OpenCV computes it: a round window, and the distance of two colors is the sum of
    the absolute differences of their channels.
    """

    name: Literal["bilateral"] = "bilateral"
    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False

    kernel: Diameter = Field(5, description="Diameter of the window in pixels; odd.")
    sigma_color: float = Field(
        0.1, ge=0.01, le=3, description="Standard deviation of the color distance; black and white are 3 apart."
    )
    sigma_space: float = Field(1.5, ge=0.1, le=16, description="Standard deviation of the distance in pixels.")

    def purify(self, images: Tensor, noise: Noise) -> Tensor:
        if not runs_on_opencv(images):
            return self._by_torch(images)
        pixels = [cv2.merge(list(image)) for image in images.detach().contiguous().numpy()]
        options = (self.kernel, self.sigma_color, self.sigma_space)
        filtered = [cv2.bilateralFilter(image, *options, borderType=cv2.BORDER_REFLECT_101) for image in pixels]
        return torch.from_numpy(np.stack(filtered)).permute(0, 3, 1, 2)

    def _by_torch(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        radius = self.kernel // 2
        padded = F.pad(images, (radius,) * 4, mode="reflect")
        total, weights = torch.zeros_like(images), torch.zeros_like(images[:, :1])
        for y in range(-radius, radius + 1):
            for x in range(-radius, radius + 1):
                if y * y + x * x > radius * radius:
                    continue
                near = padded[..., y + radius : y + radius + height, x + radius : x + radius + width]
                distance = (near - images).abs().sum(dim=1, keepdim=True)
                closeness = math.exp(-0.5 * (y * y + x * x) / self.sigma_space**2)
                weight = closeness * torch.exp(-0.5 * (distance / self.sigma_color) ** 2)
                total, weights = total + weight * near, weights + weight
        return total / weights
