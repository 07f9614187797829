"""A restoration network, known by its weights, run over images of any size in tiles of bounded memory."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.checkpoints import CheckpointError
from models.diffusion.tiling import OVERLAP, spans
from models.progress import tracked
from models.restoration import mprnet

CONTEXT = 40
"""Pixels around a tile that the network sees: 34 are all that realesr-general-x4v3 looks at."""
CURE = "add a network from RGB to RGB: MPRNet or what spandrel knows (Real-ESRGAN, SwinIR, NAFNet, HAT, ...)"


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
    """It may be computed in bfloat16."""
    reference: Callable[[Tensor], Tensor]
    """What an image (1, 3, H, W) should give, without a gradient."""
    dtype: torch.dtype = torch.float32

    def to(self, device: torch.device, dtype: torch.dtype) -> "Restorer":
        """Move the network; it stays in float32 where it cannot be computed in bfloat16."""
        dtype = dtype if self.bfloat16 else torch.float32
        return self._replace(network=self.network.to(device=device, dtype=dtype), dtype=dtype)

    def in_tiles(self, images: Tensor, tile: int) -> Tensor:
        """Restore float32 (N, 3, H, W) in [0, 1] in tiles of `tile` pixels: (N, 3, H * scale, W * scale)."""
        margin = CONTEXT if self.local else min(OVERLAP, tile // 4)
        rows, columns = (spans(side, tile, margin, self.local) for side in images.shape[2:])
        if len(rows) == len(columns) == 1:
            return self.whole(images)
        size = [side * self.scale for side in images.shape[2:]]
        result, weight = images.new_zeros((len(images), 3, *size)), images.new_zeros(size)
        for row, column in tracked(list(itertools.product(rows, columns))):
            part = self.whole(images[:, :, row.start : row.stop, column.start : column.stop])
            window = (row.window(self.local)[:, None] * column.window(self.local)).to(part)
            window = window.repeat_interleave(self.scale, 0).repeat_interleave(self.scale, 1)
            place = [slice(span.start * self.scale, span.stop * self.scale) for span in (row, column)]
            result[:, :, *place] += part * window
            weight[*place] += window
        return result / weight

    def whole(self, images: Tensor) -> Tensor:
        """Restore float32 (N, 3, H, W) in [0, 1] at once: (N, 3, H * scale, W * scale), clamped to [0, 1]."""
        height, width = images.shape[2:]
        restored: Tensor = self.network(self._padded(images).to(self.dtype).contiguous())
        return restored[:, :, : height * self.scale, : width * self.scale].float().clamp(0, 1)

    def _padded(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        right, below = self.padding(width, height)
        mirrored = min(right, width - 1), min(below, height - 1)  # a mirror has no more to show
        images = F.pad(images, (0, mirrored[0], 0, mirrored[1]), mode="reflect")
        return F.pad(images, (0, right - mirrored[0], 0, below - mirrored[1]), mode="replicate")


def identify(file: Path, state: Mapping[str, Tensor]) -> Restorer:
    """Return the network that the names and shapes of `state` tell, with these weights, in float32 on the CPU.

    Raises CheckpointError, naming `file`, for what is no network from RGB to RGB.
    """
    try:
        restorer = _mprnet(state) if mprnet.MARK in state else _of_spandrel(file, state)
    except CheckpointError:
        raise
    except Exception as error:  # spandrel's many readers of shapes promise no type of error
        raise CheckpointError(f"{file} is damaged or of another architecture: {first_line(error)}; {CURE}") from error
    restorer.network.requires_grad_(False).eval()
    return restorer


def _mprnet(state: Mapping[str, Tensor]) -> Restorer:
    network = mprnet.shaped_like(state)
    network.load_state_dict(state)
    # attention over the whole image: not local. bfloat16: its loss was never measured.
    return Restorer("MPRNet", network, 1, lambda w, h: (-w % 8, -h % 8), local=False, bfloat16=False, reference=network)


def _of_spandrel(file: Path, state: Mapping[str, Tensor]) -> Restorer:
    from spandrel import ImageModelDescriptor, ModelLoader, ModelTiling, UnsupportedModelError

    try:
        found = ModelLoader(device="cpu").load_from_state_dict(dict(state))
    except UnsupportedModelError as error:
        raise CheckpointError(f"{file} is of no known architecture; {CURE}") from error
    if not isinstance(found, ImageModelDescriptor) or found.purpose == "FaceSR":
        raise CheckpointError(f"{file} is made for {found.purpose}, not for any image; {CURE}")
    if (channels := (found.input_channels, found.output_channels)) != (3, 3):
        raise CheckpointError(f"{file} turns {channels[0]} channels into {channels[1]}; {CURE}")
    return Restorer(
        architecture=found.architecture.name,
        network=found.model,
        scale=found.scale,
        padding=found.size_requirements.get_padding,
        local=found.tiling is ModelTiling.SUPPORTED,
        bfloat16=found.supports_bfloat16,
        reference=found,
    )


def first_line(error: Exception) -> str:
    """Return the start of an error's message, or its type."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
