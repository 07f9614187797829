"""What a distortion does at each place, as a second thing to learn: one image gives hundreds of labels and not one.

The labels of `training.pseudo_mos` pool local similarities of edges and colors, and that is what these maps are, before
they are pooled. A network that has to draw them without the original learns where a picture is damaged, and
`models.iqa.damage_maps` tells its head.
"""

import torch
import torch.nn.functional as F
from piq.functional import gradient_map, prewitt_filter, rgb2lhm, similarity_map
from torch import Tensor

from models.iqa.damage_maps import CELL, Drawn

SCALES = (1, 2, 4)
"""How much smaller the images are made for the similarities of edges."""
EDGE, COLOR = 0.0026, 0.0085
"""What keeps the similarity of two flat places at 1, for values of 0 to 1: as in Xue et al., IEEE TIP 2014 (GMSD: 170),
and Nafchi et al., IEEE Access 2016 (MDSI: 550), of 255 squared."""
CENTER, SPREAD = (0.93, 0.95, 0.97, 0.96), (0.12, 0.085, 0.055, 0.12)
"""About the mean and the deviation of each map over places of distorted photographs."""


@torch.no_grad()
def similarities(distorted: Tensor, clean: Tensor) -> Tensor:
    """Return how alike images are at each place, 0 to 1, of pairs of RGB in [0, 1], (N, 3, H, W).

    The maps, (N, MAPS, H // CELL, W // CELL), are the mean over each place of the similarity of gradient magnitudes at
    each of `SCALES` and of that of colors.
    """
    ours, theirs = rgb2lhm(distorted), rgb2lhm(clean)
    maps = []
    for scale in SCALES:
        edges = (_edges(_pooled(image[:, :1], scale)) for image in (ours, theirs))
        maps.append(_pooled(similarity_map(*edges, constant=EDGE), CELL // scale))
    first, second = ours[:, 1:], theirs[:, 1:]
    products = 2 * (first * second).sum(1, keepdim=True) + COLOR
    squares = (first.square() + second.square()).sum(1, keepdim=True) + COLOR
    return torch.cat([*maps, _pooled(products / squares, CELL)], 1)


def _pooled(maps: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(maps.contiguous(), factor)  # channels last it is slow


def _edges(luma: Tensor) -> Tensor:
    """Return the magnitude of Prewitt's gradient, (N, 1, H, W), which sees no edge around the image."""
    across = prewitt_filter(device=luma.device)
    padded = F.pad(luma, (1, 1, 1, 1), mode="replicate")[:, 0, :, :, None].permute(0, 3, 1, 2)  # convolved fast so
    magnitudes: Tensor = gradient_map(padded, torch.stack([across, across.mT]))
    return magnitudes[..., 1:-1, 1:-1]


def loss(drawn: Drawn, distorted: Tensor, clean: Tensor) -> Tensor:
    """Return how far what was drawn of `distorted` is from what it should be; both images (N, 3, H, W)."""
    center, spread = (clean.new_tensor(values)[:, None, None] for values in (CENTER, SPREAD))
    wanted = (similarities(distorted, clean) - center) / spread
    return F.smooth_l1_loss(drawn.maps, wanted)
