"""Learned distances between two images, as measures and as penalties of attacks: LPIPS and DISTS by the library piq."""

import functools
import importlib
import importlib.util
import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from models.availability import AVAILABLE, Availability, unavailable
from models.tensors import lasting
from models.weights import Weight, careful_loading, move_libraries, offline

Name = Literal["LPIPS", "DISTS"]

MIN_SIDE = 32
"""Smallest height and width in pixels: VGG16 halves them five times."""

CHECKPOINTS = "{hub}/checkpoints"
RELEASES = "https://github.com/photosynthesis-team"
VGG = Weight(
    folder=CHECKPOINTS, file="vgg16-397923af.pth", url="https://download.pytorch.org/models/vgg16-397923af.pth"
)
NEEDS: dict[Name, tuple[Weight, Weight]] = {
    "LPIPS": (
        VGG,
        Weight(
            folder=CHECKPOINTS,
            file="lpips_weights.pt",
            url=f"{RELEASES}/photosynthesis.metrics/releases/download/v0.4.0/lpips_weights.pt",
        ),
    ),
    "DISTS": (
        VGG,
        Weight(
            folder=CHECKPOINTS, file="dists_weights.pt", url=f"{RELEASES}/piq/releases/download/v0.4.1/dists_weights.pt"
        ),
    ),
}
"""The files of each distance, where torch.hub looks for them."""


def availability(name: Name) -> Availability:
    """Return whether the distance can be computed here, without loading it."""
    if importlib.util.find_spec("piq") is None:
        return unavailable("piq is not installed", "Run: pip install 'purifiqa[perceptual]'")
    if missing := [weight for weight in NEEDS[name] if not weight.path().is_file()]:
        names = ", ".join(weight.name for weight in missing)
        return unavailable(f"weight files are missing: {names}", "; ".join(weight.cure() for weight in missing))
    return AVAILABLE


def distance(name: Name, images: Tensor, others: Tensor) -> Tensor:
    """Return the distance of each pair of images in [0, 1], (N, 3, H, W), as (N,): 0 for equal ones, differentiable.

    Pairs are compared one by one, so that company changes nothing. Nothing is downloaded. Raises RuntimeError or
    OSError for weight files that are damaged.
    """
    network = _network(name, images.device)
    pairs = zip(images.split(1), others.split(1), strict=True)  # type: ignore[no-untyped-call]
    return torch.cat([network(image, other).view(1) for image, other in pairs])


@functools.cache
def _network(name: Name, device: torch.device) -> nn.Module:
    move_libraries()
    piq = importlib.import_module("piq")
    with (
        warnings.catch_warnings(),
        careful_loading() as check,
        offline(),
        lasting(),
        torch.random.fork_rng(devices=[]),
    ):
        # piq asks for weights the old way
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        network: nn.Module = getattr(piq, name)(reduction="none")
        check(network)
        return network.eval().requires_grad_(requires_grad=False).to(device)
