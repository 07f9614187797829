from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.perturbation.adam import AdamAttack

LUMA = (0.299, 0.587, 0.114)
FLAT = 1e-5
"""A largest difference below this is rounding: the least that 8 bits can hold, one level of blue, is 4e-4."""


class Korhonen(AdamAttack):
    """Attack busy regions of the image, where the change hides among details.

    Korhonen and You (2022): the gradient is multiplied by a map of spatial activity, which leaves flat regions as they
    are. Activity is, as in the code that Gushchin et al. (arXiv 2404.06957) used, the horizontal Sobel filter of the
    luma, divided by its largest value, widened by a disc of 5 pixels, and divided by 255.
    """

    name: Literal["korhonen"] = "korhonen"
    source: ClassVar[str] = "Korhonen and You, Adversarial attacks against BIQA, QoEVMA 2022"
    presets: ClassVar = {"learning_rate": (7.8e-4, 1.57e-3, 3.16e-3)}

    def weigh(self, originals: Tensor) -> Tensor:
        return spatial_activity(originals) / 255


def spatial_activity(images: Tensor) -> Tensor:
    """Return how busy each place is: (N, 1, H, W), from 0 to 1, which the busiest place of each image has.

    An image without any horizontal change is 0 everywhere.
    """
    luma = (images * torch.tensor(LUMA).to(images).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    smooth, difference = torch.tensor([1.0, 2.0, 1.0]).to(images), torch.tensor([-1.0, 0.0, 1.0]).to(images)
    sobel = F.conv2d(luma, torch.outer(smooth, difference)[None, None]).abs()
    activity = F.pad(sobel, (1, 1, 1, 1))  # the border counts as flat
    largest = activity.amax(dim=(2, 3), keepdim=True)
    activity = torch.where(largest > FLAT, activity / largest, 0)
    wide = F.max_pool2d(activity, (3, 5), stride=1, padding=(1, 2))
    high = F.max_pool2d(activity, (5, 3), stride=1, padding=(2, 1))
    return torch.maximum(wide, high)  # both together: 5x5 without its corners
