"""Any UNet2DModel of diffusers that was trained to predict epsilon with DDPM's linear schedule, as a denoiser."""

import functools
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from models import checkpoints
from models.availability import AVAILABLE, Availability, unavailable
from models.checkpoints import CheckpointError, Published
from models.defense import check_finite
from models.diffusion.denoiser import Denoiser
from models.diffusion.precision import dtype_for
from models.diffusion.schedule import timestep_of
from models.diffusion.unet_files import KIND, Snapshot, build, check_config
from models.tensors import lasting

__all__ = ["KIND", "AddedUNet", "HubUNet", "UNetDenoiser", "denoise"]


class UNetDenoiser(Denoiser):
    """A UNet2DModel. Its tile is the size that it was trained at; subclasses say where its files are."""

    @abstractmethod
    def _version(self) -> str:
        """Return what changes with the weights, without reading them. Raises CheckpointError."""

    @abstractmethod
    def _read(self) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
        """Return the configuration and the weights. Raises CheckpointError."""

    def mean(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """See Denoiser; within [0, 1], as DDPM and DiffPure clamp it. Raises CheckpointError."""
        return denoise(self._network(noisy.device), noisy, sigma)

    def epsilon(self, x: Tensor, timestep: int) -> Tensor:
        if timestep < 1:
            raise ValueError(f"timestep must be at least 1, got {timestep}")
        return _evaluate(self._network(x.device), x, torch.full((len(x),), timestep - 1.0, device=x.device))

    def _network(self, device: torch.device) -> torch.nn.Module:
        return _network(_Source(self, self._version()), device, dtype_for(device, measured=False))

    def _take_sizes(self, config: Mapping[str, Any]) -> None:
        self.multiple = 2 ** (len(config["block_out_channels"]) - 1)
        side = config.get("sample_size") or UNetDenoiser.tile
        side = side if isinstance(side, int) else min(side)
        self.tile = max(self.multiple, side - side % self.multiple)


class AddedUNet(UNetDenoiser):
    """One that `purifiqa weights add` keeps under its name."""

    published: ClassVar[Published | None] = None
    """Where to get it, if it is known."""

    def _version(self) -> str:
        facts = checkpoints.find(self.name, KIND)
        return facts.sha256 if facts else ""

    def _read(self) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
        state, facts = checkpoints.load(self.name, KIND)
        return facts.config["unet"], state

    def availability(self) -> Availability:
        return checkpoints.availability(self.name, KIND, self.published)


class HubUNet(UNetDenoiser):
    """One in the local cache of Hugging Face: never downloaded."""

    def __init__(self) -> None:
        """Read the configuration, if it is there."""
        self._snapshot = Snapshot(self.name)
        if self.availability().available:
            self._take_sizes(self._snapshot.config())

    def _version(self) -> str:
        return str(self._snapshot.folder)

    def _read(self) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
        return self._snapshot.config(), self._snapshot.state()

    def availability(self) -> Availability:
        if not self._snapshot.is_here():
            return unavailable(f"{self.name} is not in the local cache of Hugging Face", self._snapshot.cure)
        try:
            self._snapshot.config()
        except CheckpointError as error:
            return unavailable(str(error), "Choose another denoiser")
        return AVAILABLE


def added(added_name: str) -> AddedUNet | None:
    """Return the denoiser that was added under this name, None if none was. Raises CheckpointError."""
    facts = checkpoints.find(added_name, KIND)
    if facts is None:
        return None
    config, terms = facts.config.get("unet", {}), str(facts.config.get("license", "not stated"))
    check_config(checkpoints.folder(added_name), config)

    class Added(AddedUNet):
        name = added_name
        license = terms

    denoiser = Added()
    denoiser._take_sizes(config)  # noqa: SLF001 - our own class
    return denoiser


def on_hub(identifier: str) -> HubUNet:
    """Return the denoiser with this id, owner/name, whether or not its files are here."""

    class Found(HubUNet):
        name = identifier
        license = Snapshot(identifier).license()

    return Found()


def denoise(network: torch.nn.Module, noisy: Tensor, sigma: Tensor) -> Tensor:
    """Return the posterior mean in [0, 1] of images with additive noise, as Denoiser.mean."""
    kept = (1 / (1 + 4 * sigma.to(noisy).square())).reshape(-1, 1, 1, 1)
    index = torch.tensor([max(0.0, timestep_of(one) - 1) for one in sigma.tolist()], device=noisy.device)
    x = kept.sqrt() * (2 * noisy - 1)
    epsilon = _evaluate(network, x, index)[:, :3]
    clean = (x - (1 - kept).sqrt() * epsilon) / kept.sqrt()
    return clean.clamp(-1, 1).add(1).div(2)


def _evaluate(network: torch.nn.Module, x: Tensor, index: Tensor) -> Tensor:
    dtype = next(network.parameters()).dtype
    output: Tensor = network(x.to(dtype).contiguous(memory_format=torch.channels_last), index, return_dict=False)[0]
    output = output.float().contiguous()
    check_finite(output, "the diffusion network")  # before anything is clamped
    return output


class _Source:
    """A denoiser as a key of the cache: equal while its name and weights are."""

    def __init__(self, denoiser: UNetDenoiser, version: str) -> None:
        self.denoiser = denoiser
        self._key = denoiser.name, version

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Source) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@functools.lru_cache(maxsize=2)  # each may be gigabytes, and whoever sends a request chooses which
def _network(source: _Source, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    with lasting():
        config, state = source.denoiser._read()  # noqa: SLF001 - this is its loading
        network: Any = build(config, state)
        return cast("torch.nn.Module", network.to(device=device, dtype=dtype, memory_format=torch.channels_last))
