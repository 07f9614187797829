"""Weights of a metric's network: read from the published file, tried on a picture, kept, and loaded once per device."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models import checkpoints
from models.availability import Availability
from models.checkpoints import CheckpointError, Entry, Facts, Published, git_digest
from models.tensors import lasting
from models.weight_files import check_state

KIND = "metric"
COUNTER = "num_batches_tracked"
"""A counter of batch norm's that scoring does not use and that files from before torch 0.4.1 lack."""

_lock = threading.Lock()
_loaded: dict[tuple[str, torch.device], tuple[str, nn.Module]] = {}


class MetricWeights(NamedTuple):
    """What is needed to take, keep and use the weights of one network."""

    name: str
    published: tuple[Published, ...]
    """The files that may be added; `purifiqa weights pull` fetches the first."""
    read: Callable[[Path], dict[str, Tensor]]
    """From a published file to what is kept. Raises CheckpointError."""
    build: Callable[[Mapping[str, Tensor]], nn.Module]
    """From what is kept to the network, frozen, on the CPU."""
    trial: Callable[[nn.Module, Tensor], Tensor]
    """Scores the built-in picture."""
    plausible: tuple[float, float]
    """Between which scores that of the picture should lie."""

    @property
    def entry(self) -> Entry:
        """What `purifiqa weights` knows about it."""
        return Entry(self.published[0], KIND, self.add)

    def add(self, file: Path) -> Facts:
        """Read a published file, score two pictures with it, and keep it. Raises CheckpointError."""
        try:
            state = self.read(_existing(file))
            score = self._try(file, state)
        except CheckpointError as error:
            first = self.published[0]
            where = f"{self.name} is published as {first.file} at {first.url}"
            raise CheckpointError(f"{error}; {where}") from error
        config = {"license": self.published[0].license, "trial_score": score, "notes": self._notes(file, score)}
        return checkpoints.add(self.name, KIND, file, state, config)

    def _try(self, file: Path, state: Mapping[str, Tensor]) -> float:
        with torch.inference_mode():
            network = self.build(state)
            score, other = (self.trial(network, image).item() for image in (picture(), 1 - picture()))
        if score != score or abs(score) == float("inf"):
            raise CheckpointError(f"{file} is damaged: it scores a picture as {score}")
        if score == other:
            raise CheckpointError(f"{file} is damaged: it scores two different pictures alike, as {score}")
        return round(score, 4)

    def _notes(self, file: Path, score: float) -> list[str]:
        low, high = self.plausible
        notes = [] if low <= score <= high else [f"warning: {score} is not a plausible score; is this the right file?"]
        known = {one.git_sha1: one.file for one in self.published if one.git_sha1}
        if known:
            found = known.get(git_digest(file))
            notes.append(
                f"it is the published {found}"
                if found
                else f"it is not one of the published files {', '.join(known.values())}"
            )
        return notes

    def facts(self) -> Facts | None:
        """Return the facts about the added weights as they are now; None if there are none or they are unreadable."""
        try:
            return checkpoints.find(self.name, KIND)
        except CheckpointError:
            return None

    def version(self) -> str:
        """Return which weights are here: the name and sha256 of the file that was added."""
        facts = self.facts()
        return f"{facts.source}, sha256 {facts.source_sha256[:12]}" if facts else "weights not added"

    def availability(self) -> Availability:
        """Return whether the weights are here, without reading them."""
        return checkpoints.availability(self.name, KIND, self.published[0])

    def load(self, device: torch.device) -> nn.Module:
        """Return the network on `device`; read when it is first asked for and when other weights were added.

        Raises CheckpointError.
        """
        facts = checkpoints.find(self.name, KIND)
        with _lock:
            sha256, network = _loaded.get((self.name, device), (None, None))
            if network is None or facts is None or sha256 != facts.sha256:
                _loaded.pop((self.name, device), None)
                state, facts = checkpoints.load(self.name, KIND)
                with lasting():
                    network = self.build(state).to(device)
                _loaded[self.name, device] = facts.sha256, network
            return network


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise CheckpointError(f"{file} is not a file")
    return file


def assembled(make: Callable[[], nn.Module], state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network with these weights and no others, frozen, in eval mode, on the CPU."""
    network = _empty(make)
    network.load_state_dict(dict(state), assign=True)
    return network.requires_grad_(False).eval()


def fitted(file: Path, state: Mapping[str, Tensor], make: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """Return a file's tensors under the names of the network that `make` builds, in its types, all of them.

    The prefix of DataParallel is dropped. Raises CheckpointError unless names and shapes are exactly the network's,
    every number is finite, and the network was trained.
    """
    expected = _empty(make).state_dict()
    names = [str(name) for name in state]
    prefix = "module." if names and all(name.startswith("module.") for name in names) else ""
    given = {str(name).removeprefix(prefix): value for name, value in state.items()}
    for name, value in expected.items():
        if name.endswith(COUNTER):
            given.setdefault(name, torch.zeros_like(value, device="cpu"))
    check_state(file, given, expected)
    if _is_as_made(given):
        raise CheckpointError(f"{file} holds a network that was never trained: its batch norms have seen no image")
    # clone: tensors that share memory cannot be kept as safetensors
    return {name: given[name].detach().to(value.dtype).clone() for name, value in expected.items()}


def _is_as_made(state: Mapping[str, Tensor]) -> bool:
    """Return whether all statistics of batch norm are those of a new network: means of 0, variances of 1."""
    start = {"running_mean": 0, "running_var": 1}
    kinds = ((name.rpartition(".")[2], value) for name, value in state.items())
    found = [bool((value == start[kind]).all()) for kind, value in kinds if kind in start]
    return bool(found) and all(found)


def _empty(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


def picture() -> Tensor:
    """Return the built-in picture: shades, an edge and fine texture, the same anywhere, (1, 3, 224, 288) in [0, 1]."""
    y, x = torch.meshgrid(torch.arange(224), torch.arange(288), indexing="ij")
    planes = torch.stack([40 + x // 2, 200 - y // 2, 60 + (x + y) // 4])
    disk = (x - 150) ** 2 + (y - 110) ** 2 < 3600
    texture = (x * 7919 + y * 104729 + torch.arange(3)[:, None, None] * 1299709) * 2654435761 % 2**32 // 2**28 - 8
    return (planes + 50 * disk + texture).clamp(0, 255)[None].float() / 255
