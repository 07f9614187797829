"""Weights of the FCN filters: ours, which ship, and the published ones, which a user adds."""

import functools
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models import checkpoints
from models.checkpoints import CheckpointError, Entry, Facts, Published, check_published
from models.fcn.curves import CurveNet
from models.fcn.network import FCNet
from models.shipped import verified
from models.tensors import lasting
from models.weight_files import check_state, read_state

SHIPPED = Path(__file__).parent / "shipped"
KIND = "filter"
NETWORKS: dict[str, type[nn.Module]] = {"fcn": FCNet, "fcn-curves": CurveNet}
"""Each network by the name under which it ships."""

CHECKPOINT = Published(
    name="fcn-published",
    file="fcn_mse.pth",
    url="https://drive.google.com/drive/folders/1c6hC5cSfeNfi5-jMHwsyZqoH_QXURmB_",
    license="not stated",
)


@functools.cache
def shipped(name: str, device: torch.device) -> nn.Module:
    """Return the network of this name with the weights that ship, on a device; read once.

    Raises ShippedWeightsError.
    """
    file = verified(SHIPPED / name / checkpoints.WEIGHTS)
    with lasting():
        return _ready(NETWORKS[name](), load_file(file), device)


def published(device: torch.device) -> nn.Module:
    """Return the paper's network with its published weights, on a device. Raises CheckpointError if not added."""
    facts = checkpoints.find(CHECKPOINT.name, KIND)
    return _published(facts.sha256 if facts else "", device)


@functools.lru_cache(maxsize=4)
def _published(sha256: str, device: torch.device) -> nn.Module:  # noqa: ARG001 - part of the key
    with lasting():
        return _ready(FCNet(), checkpoints.load(CHECKPOINT.name, KIND)[0], device)


def _ready(network: nn.Module, state: dict[str, Tensor], device: torch.device) -> nn.Module:
    network.load_state_dict(state)
    return network.requires_grad_(requires_grad=False).eval().to(device)


def save(network: nn.Module, folder: Path) -> None:
    """Write a network's weights into a folder, as they ship."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / checkpoints.WEIGHTS, metadata={"format": "pt"})


def add(file: Path) -> Facts:
    """Add the published checkpoint, {"model": state, "epoch": number}. Raises CheckpointError for any other file."""
    check_published(file, CHECKPOINT)
    try:
        state = _read(file)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; download {CHECKPOINT.file} from {CHECKPOINT.url}") from error
    return checkpoints.add(CHECKPOINT.name, KIND, file, state, {"license": CHECKPOINT.license})


def _read(file: Path) -> dict[str, Tensor]:
    state = read_state(file).get("model")
    if not isinstance(state, dict):
        raise CheckpointError(f'{file} holds no "model" with the weights of the FCN filter')
    check_state(file, state, FCNet().state_dict())
    state = {name: value.detach().float().clone() for name, value in state.items()}
    with torch.no_grad():
        tried = _ready(FCNet(), state, torch.device("cpu"))(torch.linspace(0, 1, 768).view(1, 3, 16, 16))
    if not bool(tried.isfinite().all()):
        raise CheckpointError(f"{file} is damaged: it turns a small image into NaN or infinity")
    return state


PUBLISHED = (Entry(CHECKPOINT, KIND, add),)
"""What `purifiqa weights add` knows by name."""
