"""Denoise an image of any size in tiles of bounded memory: exact where the network looks only so far, else blended."""

import itertools
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.availability import Availability
from models.defense import check_finite
from models.diffusion.denoiser import Denoiser
from models.progress import tracked

OVERLAP = 64
"""Most pixels over which neighboring tiles of a network without a halo are blended."""


class Tiled(Denoiser):
    """Any denoiser, for images of any size and with memory for one tile at a time.

    With a halo, each tile is computed with that much of its surroundings: the result is that of the whole image.
    Without one (attention, normalization over the image), tiles overlap and fade into each other with a raised cosine.
    """

    name: ClassVar[str] = "tiled"
    license: ClassVar[str] = "Apache-2.0"

    def __init__(self, denoiser: Denoiser, tile: int | None = None) -> None:
        """Take the denoiser and, to override its own, the side of a tile in pixels. Raises ValueError."""
        self.inner = denoiser
        self.tile = tile or denoiser.tile
        if self.tile % denoiser.multiple or self.tile < 1:
            raise ValueError(f"a tile of {denoiser.name} must be a multiple of {denoiser.multiple}, got {self.tile}")

    def mean(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        return self._in_tiles(noisy, lambda tile: self.inner.mean(tile, sigma))

    def epsilon(self, x: Tensor, timestep: int) -> Tensor:
        return self._in_tiles(x, lambda tile: self.inner.epsilon(tile, timestep))

    def availability(self) -> Availability:
        return self.inner.availability()

    def _in_tiles(self, images: Tensor, evaluate: Callable[[Tensor], Tensor]) -> Tensor:
        height, width = images.shape[2:]
        exact = self.inner.halo is not None
        margin = min(OVERLAP, self.tile // 4) if self.inner.halo is None else self.inner.halo
        if exact:
            margin += -margin % self.inner.multiple
        padded = pad_to(images, self.inner.multiple)

        def checked(tile: Tensor) -> Tensor:
            result = evaluate(tile)
            check_finite(result, self.inner.name)
            return result

        return in_tiles(padded, self.tile, margin, checked, exact=exact)[:, :, :height, :width]


def in_tiles(
    images: Tensor, tile: int, margin: int, evaluate: Callable[[Tensor], Tensor], *, exact: bool, scale: int = 1
) -> Tensor:
    """Return `evaluate` of (N, C, H, W) images, put together from that of tiles, `scale` times as high and wide.

    `exact`: a tile of `tile` pixels is evaluated with `margin` more on every side, which are cut off; else tiles
    overlap by `margin` and fade into each other. An image that is no larger than a tile is evaluated at once.
    """
    rows, columns = (spans(side, tile, margin, exact) for side in images.shape[2:])
    if len(rows) == len(columns) == 1:
        return evaluate(images)
    size = [scale * side for side in images.shape[2:]]
    result, weight = torch.zeros(0), torch.zeros(0 if exact else size, device=images.device)
    for row, column in tracked(list(itertools.product(rows, columns))):
        part = evaluate(images[:, :, row.start : row.stop, column.start : column.stop])
        if not len(result):
            result = part.new_zeros((len(part), part.shape[1], *size))
        if exact:
            result[:, :, *_scaled(row.first, row.last, column.first, column.last, scale)] = part[
                :, :, *_scaled(row.own.start, row.own.stop, column.own.start, column.own.stop, scale)
            ]
            continue
        window = (row.window()[:, None] * column.window()).to(part)
        window = window.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        place = _scaled(row.start, row.stop, column.start, column.stop, scale)
        result[:, :, *place] += part * window
        weight[place] += window.to(weight)
    return result if exact else result.div_(weight)


def _scaled(top: int, bottom: int, left: int, right: int, scale: int) -> tuple[slice, slice]:
    return slice(scale * top, scale * bottom), slice(scale * left, scale * right)


class Span(NamedTuple):
    """Where a tile is computed along one axis, and within that the part that it alone answers for."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def own(self) -> slice:
        """That part, counted from the tile's start."""
        return slice(self.first - self.start, self.last - self.start)

    def window(self) -> Tensor:
        """Return the weights of a blended tile: 1 in its own part, falling around it as a raised cosine."""
        window = torch.ones(self.stop - self.start)
        before, after = self.first - self.start, self.stop - self.last
        for count, place in ((before, slice(0, before)), (after, slice(len(window) - after, None))):
            ramp = torch.sin((torch.arange(count) + 0.5) / max(1, count) * torch.pi / 2) ** 2
            window[place] *= ramp if place.start == 0 else ramp.flip(0)  # at the far edge three tiles may meet
        return window


def spans(side: int, tile: int, margin: int, exact: bool) -> list[Span]:  # noqa: FBT001
    """Cut `side` pixels into tiles of at most `tile` pixels of their own (exact) or in all (blended)."""
    if side <= tile:
        return [Span(0, side, 0, side)]
    if exact:
        cuts = [*range(0, side, tile), side]
        return [
            Span(max(0, first - margin), min(side, last + margin), first, last)
            for first, last in itertools.pairwise(cuts)
        ]
    starts = [*range(0, side - tile, tile - margin), side - tile]
    blended = []
    for index, start in enumerate(starts):
        first = starts[index - 1] + tile if index else 0
        last = starts[index + 1] if index + 1 < len(starts) else side
        blended.append(Span(start, start + tile, min(first, start + tile), max(last, start)))
    return blended


def pad_to(images: Tensor, multiple: int) -> Tensor:
    """Return (N, C, H, W) images continued, mirrored where possible, to multiples of `multiple`."""
    height, width = images.shape[2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return images
    mode = "reflect" if below < height and right < width else "replicate"
    return F.pad(images, (0, right, 0, below), mode=mode)
