"""A restoration network, known by its weights, run over images of any size in tiles of bounded memory."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.checkpoints import CheckpointError
from models.defense import check_finite
from models.diffusion.tiling import OVERLAP, in_tiles, pad_to
from models.restoration import mprnet

CONTEXT = 48
"""Pixels around a tile that the network sees: 34 are all that realesr-general-x4v3 looks at."""
GRID = 16
"""Tiles begin at multiples of this, so that a network that halves the image up to four times halves them alike."""
CURE = "add an RGB-to-RGB network: MPRNet, or one that spandrel supports (Real-ESRGAN, SwinIR, NAFNet, HAT, ...)"


class Restorer(NamedTuple):
    """A network with its weights, ready to run."""

    architecture: str
    network: nn.Module
    scale: int
    """Output pixels per input pixel along an axis."""
    padding: Callable[[int, int], tuple[int, int]]
    """From a width and height to the columns and rows that the network needs more."""
    local: bool
    """A tile with its context gives what the whole image gives; if not, tiles have to fade into each other."""
    bfloat16: bool
    """It can be computed in bfloat16."""
    dtype: torch.dtype = torch.float32

    def to(self, device: torch.device, dtype: torch.dtype) -> "Restorer":
        """Move the network; it stays in float32 where it cannot be computed in bfloat16."""
        dtype = dtype if self.bfloat16 else torch.float32
        return self._replace(network=self.network.to(device=device, dtype=dtype), dtype=dtype)

    def in_tiles(self, images: Tensor, tile: int, most: int | None = None) -> Tensor:
        """Restore float32 (N, 3, H, W) in [0, 1] in tiles of `tile` >= 64 pixels: (N, 3, H * scale, W * scale).

        `most`: every tile is brought down to a scale of at most this at once, so that only one is ever held larger.
        """
        scale = self.scale if most is None else min(self.scale, most)

        def evaluate(part: Tensor) -> Tensor:
            return resized(self.whole(part), (part.shape[2] * scale, part.shape[3] * scale))

        height, width = images.shape[2:]
        tile -= tile % GRID
        if self.local:
            return in_tiles(images, tile, CONTEXT, evaluate, exact=True, scale=scale)
        if max(height, width) > tile:
            images = pad_to(images, GRID)
        margin = min(OVERLAP, tile // 4 // GRID * GRID)
        restored = in_tiles(images, tile, margin, evaluate, exact=False, scale=scale)
        return restored[:, :, : height * scale, : width * scale]

    def whole(self, images: Tensor) -> Tensor:
        """Restore float32 (N, 3, H, W) in [0, 1] at once: (N, 3, H * scale, W * scale), clamped to [0, 1].

        Raises PurificationError if the network makes NaN or infinity.
        """
        height, width = images.shape[2:]
        restored: Tensor = self.network(self._padded(images).to(self.dtype).contiguous())
        check_finite(restored, self.architecture)
        return restored[:, :, : height * self.scale, : width * self.scale].float().clamp(0, 1)

    def _padded(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        right, below = self.padding(width, height)
        mirrored = min(right, width - 1), min(below, height - 1)  # a mirror has no more to show
        images = F.pad(images, (0, mirrored[0], 0, mirrored[1]), mode="reflect")
        return F.pad(images, (0, right - mirrored[0], 0, below - mirrored[1]), mode="replicate")


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images of (height, width) `size`, by torch's anti-aliased bicubic interpolation."""
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bicubic", align_corners=False, antialias=True)


class Called(nn.Module):
    """A network as spandrel calls it, image by image: some need more, such as a map of the noise, made for one."""

    def __init__(self, network: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self._call = network, call

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self._call(self.network, image) for image in torch.split(images, 1)])


def identify(file: Path, state: Mapping[str, Tensor]) -> Restorer:
    """Return the network that the names and shapes of `state` tell, with these weights, in float32 on the CPU.

    Raises CheckpointError, naming `file`, for what is no network from RGB to RGB.
    """
    try:
        restorer = _mprnet(state) if mprnet.MARK in state else _of_spandrel(file, state)
    except CheckpointError:
        raise
    except Exception as error:  # spandrel's many readers of shapes promise no type of error
        raise CheckpointError(f"{file} is damaged or has another architecture: {first_line(error)}; {CURE}") from error
    restorer.network.requires_grad_(False).eval()
    return restorer


def _mprnet(state: Mapping[str, Tensor]) -> Restorer:
    network = mprnet.shaped_like(state)
    network.load_state_dict(state)
    # attention over the whole image: not local
    return Restorer("MPRNet", network, 1, lambda w, h: (-w % 8, -h % 8), local=False, bfloat16=True)


def _of_spandrel(file: Path, state: Mapping[str, Tensor]) -> Restorer:
    from spandrel import ImageModelDescriptor, ModelLoader, ModelTiling, UnsupportedModelError

    try:
        found = ModelLoader(device="cpu").load_from_state_dict(dict(state))
    except UnsupportedModelError as error:
        raise CheckpointError(f"{file} has an unknown architecture; {CURE}") from error
    if not isinstance(found, ImageModelDescriptor) or found.purpose == "FaceSR":
        raise CheckpointError(f"{file} is made for {found.purpose}, not for images in general; {CURE}")
    if (channels := (found.input_channels, found.output_channels)) != (3, 3):
        raise CheckpointError(f"{file} turns {channels[0]} channels into {channels[1]}; {CURE}")
    return Restorer(
        architecture=found.architecture.name,
        network=Called(found.model, found._call_fn),  # noqa: SLF001 - calling `found` itself would cut gradients off
        scale=found.scale,
        padding=found.size_requirements.get_padding,
        local=found.tiling is ModelTiling.SUPPORTED and not _pools_all(found.model),
        bfloat16=found.supports_bfloat16,
    )


def _pools_all(network: nn.Module) -> bool:
    """Return whether something in it is a mean over the whole image, as the channel attention of NAFNet and RCAN is."""
    return any(isinstance(part, nn.AdaptiveAvgPool2d) for part in network.modules())


def first_line(error: Exception) -> str:
    """Return the start of an error's message, or its type."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
