"""MetaIQA: the 1000 outputs of a ResNet-18 and a small network on them.

Zhu, Li, Wu, Dong, Shi, MetaIQA: Deep Meta-Learning for No-Reference Image Quality Assessment (CVPR 2020, arXiv
2004.05508). Modules bear the names that the published weights use.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from models import inert_pickle
from models.checkpoints import CheckpointError
from models.iqa.preprocessing import normalized, resized
from models.iqa.weights import assembled, fitted
from models.weight_files import PickledObjectsError, read_state

SIDE = 224


def backbone() -> nn.Module:
    """Return torchvision's ResNet-18 with its classifier."""
    from torchvision.models import resnet18

    return cast("nn.Module", resnet18(weights=None))


class Head(nn.Module):
    """From 1000 class scores to a quality in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.bn1, self.relu1, self.drop1 = (
            nn.Linear(1000, 1024),
            nn.BatchNorm1d(1024),
            nn.PReLU(),
            nn.Dropout(),
        )
        self.fc2, self.bn2, self.relu2, self.drop2 = nn.Linear(1024, 512), nn.BatchNorm1d(512), nn.PReLU(), nn.Dropout()
        self.fc3 = nn.Linear(512, 1)

    def forward(self, classes: Tensor) -> Tensor:
        x = self.drop1(self.relu1(self.bn1(self.fc1(classes))))
        x = self.drop2(self.relu2(self.bn2(self.fc2(x))))
        quality: Tensor = self.fc3(x).sigmoid()
        return quality


class MetaIQA(nn.Module):
    """From normalized images to a quality in [0, 1], (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet_layer = backbone()
        self.net = Head()

    def forward(self, images: Tensor) -> Tensor:
        quality: Tensor = self.net(self.resnet_layer(images))
        return quality[:, 0]


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network from what `read` gave."""
    return assembled(MetaIQA, state)


def read(file: Path) -> dict[str, Tensor]:
    """Return the weights in a whole pickled network, as published, or in a plain state dictionary.

    Raises CheckpointError.
    """
    try:
        state = read_state(file)
    except PickledObjectsError:
        found = inert_pickle.read(file)
        if not isinstance(found, inert_pickle.Shell):
            raise CheckpointError(f"{file} holds a {type(found).__name__}, not a network") from None
        state = inert_pickle.state_of(file, found)
    return fitted(file, state, MetaIQA)


def official(network: nn.Module, images: Tensor) -> Tensor:
    """Score images squeezed to 224x224, with antialiasing."""
    return native(network, resized(images, SIDE, SIDE))


def aliased(network: nn.Module, images: Tensor) -> Tensor:
    """Score images squeezed to 224x224 without antialiasing, as old versions of scikit-image did."""
    return native(network, resized(images, SIDE, SIDE, antialias=False))


def native(network: nn.Module, images: Tensor) -> Tensor:
    """Score images at their own size."""
    return cast("Tensor", network(normalized(images)))
