"""SPAQ's four networks: a ResNet-50 that scores patches of 224x224; an image's score is their mean.

Fang, Zhu, Zeng, Ma, Wang, Perceptual Quality Assessment of Smartphone Photography (CVPR 2020). Modules bear the names
that the published weights use. Pixels are not normalized.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.checkpoints import CheckpointError
from models.iqa.preprocessing import resized
from models.iqa.weights import assembled, fitted
from models.weight_files import read_state

PATCH, STRIDE, SHORT_SIDE = 224, 112, 512
MAX_PATCHES = 256
"""Most patches per image; where there would be more, that many are taken, evenly spread along each axis."""
CHUNK = 8
"""Patches that go through the network at once: memory, and on a CPU also speed."""


def backbone(outputs: int) -> nn.Module:
    """Return torchvision's ResNet-50 with so many outputs."""
    from torchvision.models import resnet50

    return cast("nn.Module", resnet50(weights=None, num_classes=outputs))


class Baseline(nn.Module):
    """BL, and with six outputs MT-A, whose first is the quality; the others are attributes."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.backbone = backbone(outputs)

    def forward(self, patches: Tensor) -> Tensor:
        """Return the quality of patches (N, 3, 224, 224) in [0, 1], (N,)."""
        outputs: Tensor = self.backbone(patches)
        return outputs[:, 0]


class WithExif(Baseline):
    """MT-E: what the camera's settings say is added to the quality."""

    def __init__(self) -> None:
        super().__init__()
        self.exifCNN = nn.Linear(8, 1, bias=False)

    def forward(self, patches: Tensor, exif: Tensor | None = None) -> Tensor:
        """Return the quality, (N,); `exif` is (N, 8), normalized. None stands for zeros, which add nothing."""
        quality = super().forward(patches)
        return quality if exif is None else quality + self.exifCNN(exif)[:, 0]


class WithScene(nn.Module):
    """MT-S: quality beside nine kinds of scene, of which only the quality is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone_semantic, self.backbone_quality = backbone(9), backbone(1)

    def forward(self, patches: Tensor) -> Tensor:
        """Return the quality, (N,)."""
        quality: Tensor = self.backbone_quality(patches)
        return quality[:, 0]


MAKERS: dict[str, Callable[[], nn.Module]] = {
    "spaq-bl": Baseline,
    "spaq-mt-e": WithExif,
    "spaq-mt-a": lambda: Baseline(6),
    "spaq-mt-s": WithScene,
}
"""The networks by the names of their metrics."""


def builder(name: str) -> Callable[[Mapping[str, Tensor]], nn.Module]:
    """Return what builds the network of this name from what was read."""
    return lambda state: assembled(MAKERS[name], state)


def reader(name: str) -> Callable[[Path], dict[str, Tensor]]:
    """Return what reads the published file of this name, or its plain state dictionary; it raises CheckpointError."""

    def read(file: Path) -> dict[str, Tensor]:
        found = read_state(file)
        state = found.get("state_dict", found)
        if not isinstance(state, dict):
            raise CheckpointError(f"{file} is of another structure: state_dict is a {type(state).__name__}")
        return fitted(file, state, MAKERS[name])

    return read


def official(network: nn.Module, images: Tensor) -> Tensor:
    """Score images whose short side is made 512 if it is longer, and 224 if it is shorter than that."""
    height, width = images.shape[2:]
    short = min(height, width)
    if short > SHORT_SIDE or short < PATCH:
        side = SHORT_SIDE if short > SHORT_SIDE else PATCH
        images = resized(images, *(side if one == short else int(side * one / short) for one in (height, width)))
    return native(network, images)


def native(network: nn.Module, images: Tensor) -> Tensor:
    """Score images at their own size, of at least 224x224: the mean over patches."""
    corners = _corners(*images.shape[2:])
    places = [(index, y, x) for index in range(len(images)) for y, x in corners]
    chunks = [places[start : start + CHUNK] for start in range(0, len(places), CHUNK)]
    scores = torch.cat([_score(network, images, chunk, alone=len(chunks) == 1) for chunk in chunks])
    return scores.view(len(images), len(corners)).mean(dim=1)


def _score(network: nn.Module, images: Tensor, places: list[tuple[int, int, int]], *, alone: bool) -> Tensor:
    def score(images: Tensor) -> Tensor:
        patches = [images[index, :, y : y + PATCH, x : x + PATCH] for index, y, x in places]
        return cast("Tensor", network(torch.stack(patches)))

    if alone or not (torch.is_grad_enabled() and images.requires_grad):
        return score(images)
    # computed again for the gradient: 24 patches would otherwise keep over 2 GB
    return checkpoint(score, images, use_reentrant=False, preserve_rng_state=False)


def _corners(height: int, width: int) -> list[tuple[int, int]]:
    """Return the upper left corners of the patches, row by row."""
    rows, columns = _starts(height), _starts(width)
    if len(rows) * len(columns) > MAX_PATCHES:
        fewer = min(len(rows), len(columns), math.isqrt(MAX_PATCHES))
        rows, columns = (
            _spread(starts, fewer if len(starts) == min(len(rows), len(columns)) else MAX_PATCHES // fewer)
            for starts in (rows, columns)
        )
    return [(y, x) for y in rows for x in columns]


def _starts(side: int) -> list[int]:
    starts = list(range(0, side - PATCH + 1, STRIDE))
    return starts if starts[-1] == side - PATCH else [*starts, side - PATCH]


def _spread(starts: list[int], count: int) -> list[int]:
    """Return `count` of the starts, the first and the last among them, as evenly as can be."""
    if count >= len(starts):
        return starts
    return [starts[round(index * (len(starts) - 1) / max(1, count - 1))] for index in range(count)]
