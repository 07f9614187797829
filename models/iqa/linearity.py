"""Linearity: ResNeXt-101 with a head on each of its last two stages and one on both.

Li, Jiang, Jiang, Norm-in-Norm Loss with Faster Convergence and Better Performance for Image Quality Assessment (ACM MM
2020, arXiv 2008.03889). Modules bear the names that the published weights use.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.checkpoints import CheckpointError
from models.iqa.preprocessing import normalized, resized
from models.iqa.weights import assembled, fitted
from models.weight_files import read_state

HEIGHT, WIDTH = 498, 664
"""The size of the images that it was trained on."""
LINES = ("k", "b")
"""Slopes and intercepts from the heads to opinion scores, in the file's order: fused, third stage, fourth stage."""
PLACEHOLDERS = ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
"""The lines that an interrupted training leaves in its file."""


def backbone() -> nn.Module:
    """Return torchvision's ResNeXt-101 32x8d."""
    from torchvision.models import resnext101_32x8d

    return cast("nn.Module", resnext101_32x8d(weights=None))


class Linearity(nn.Module):
    """From normalized images to three raw scores per image."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*list(backbone().children())[:-2])  # without pooling and classifier
        third, fourth = (_reducer(channels) for channels in (1024, 2048))
        self.dr6, self.dr7 = third, fourth
        self.regr6, self.regr7, self.regression = nn.Linear(64, 1), nn.Linear(64, 1), nn.Linear(128, 1)
        self.slope, self.intercept = math.nan, math.nan

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return what the heads on the third stage, the fourth stage and both say, (N, 1) each."""
        third = self.features[:7](images)
        fourth = self.features[7](third)
        low, high = self.dr6(third.mean((2, 3))), self.dr7(fourth.mean((2, 3)))
        return [self.regr6(low), self.regr7(high), self.regression(torch.cat([low, high], dim=1))]

    def quality(self, images: Tensor) -> Tensor:
        """Return the scores of normalized images on KonIQ-10k's scale, (N,)."""
        *_, fused = self(images)
        quality: Tensor = fused[:, 0] * self.slope + self.intercept
        return quality


def _reducer(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in ((channels, 1024), (1024, 256), (256, 64)):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after)]
    return nn.Sequential(*layers, nn.ReLU())


def build(state: Mapping[str, Tensor]) -> Linearity:
    """Return the network from what `read` gave, with the line of the fused head."""
    weights = {name: tensor for name, tensor in state.items() if name not in LINES}
    network = cast("Linearity", assembled(Linearity, weights))
    network.slope, network.intercept = (state[name][0].item() for name in LINES)
    return network


def read(file: Path) -> dict[str, Tensor]:
    """Return the weights and lines in a checkpoint of the official training, without the optimizer's state.

    Raises CheckpointError.
    """
    checkpoint = read_state(file)
    missing = [name for name in ("model", *LINES) if name not in checkpoint]
    if missing:
        raise CheckpointError(f"{file} is not a checkpoint of LinearityIQA: it lacks {' and '.join(missing)}")
    lines = [_numbers(file, name, checkpoint[name]) for name in LINES]
    if tuple(lines) == PLACEHOLDERS:
        raise CheckpointError(
            f"{file} holds the placeholders k={lines[0]}, b={lines[1]}: its training ended before they were fitted, so"
            " its scores would be on no scale. Take a file of a finished training"
        )
    if not isinstance(checkpoint["model"], dict):
        raise CheckpointError(f"{file} is not a checkpoint of LinearityIQA: its model is not a dictionary")
    kept = {name: torch.tensor(line, dtype=torch.float64) for name, line in zip(LINES, lines, strict=True)}
    return {**fitted(file, checkpoint["model"], Linearity), **kept}


def _numbers(file: Path, name: str, found: Any) -> list[float]:
    try:
        numbers: list[float] = torch.as_tensor(found, dtype=torch.float64).flatten().tolist()
    except (ArithmeticError, RuntimeError, TypeError, ValueError):
        numbers = []
    if len(numbers) != 3:
        raise CheckpointError(f"{file} is not a checkpoint of LinearityIQA: {name} is not a list of three numbers")
    if not all(map(math.isfinite, numbers)):
        raise CheckpointError(f"{file} is damaged: {name} is {numbers}")
    return numbers


def official(network: nn.Module, images: Tensor) -> Tensor:
    """Score images resized to the size of the training, whatever their proportions."""
    return native(network, resized(images, HEIGHT, WIDTH))


def native(network: nn.Module, images: Tensor) -> Tensor:
    """Score images at their own size."""
    return cast("Linearity", network).quality(normalized(images))
