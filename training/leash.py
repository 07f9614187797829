"""Keeps a trunk without normalization alive: what its blocks add stays about as large as it was.

Nothing in the trunk normalizes, inputs behind a ReLU6 are never negative and Adam's steps are all of one size: what a
block adds may grow from step to step until the ReLU6 of the blocks behind it cut off everything, for good. In version 8
of the metric the last two stages, over half of the parameters, had ended so. Batch normalization would not let it, but
then a training step's scores depend on each other; here weights and bias are drawn back where a channel's mean or
deviation leaves a band around what they were at first.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
from torch import Tensor

from models.iqa.efficientnet_lite import Block, EfficientNetLite0
from training.alive import watched

KEEP = 0.98
"""Share of the running moments that a step keeps."""
SHIFT = 0.5
"""How far a mean may move, in deviations that the channel had at first."""
GROWTH = 1.5
"""How much larger a deviation may become."""
SETTLED = 50
"""Steps after which the running moments are what the channels began with."""


class Moments(NamedTuple):
    """Of each channel that a block adds, over images and places."""

    mean: Tensor
    deviation: Tensor


class Leash:
    """The moments of every block's last layer: what they are, and what they were."""

    def __init__(self, trunk: EfficientNetLite0) -> None:
        self._layers = [block.project for block in trunk.modules() if isinstance(block, Block)]
        self._now: list[Moments] = []
        self._first: list[Moments] = []
        self._steps = 0

    def state(self) -> dict[str, object]:
        """Return what a checkpoint keeps."""
        return {
            "steps": self._steps,
            "now": [tuple(one) for one in self._now],
            "first": [tuple(one) for one in self._first],
        }

    def load(self, state: dict[str, object]) -> None:
        """Go on from what `state` returned."""
        self._steps = int(state["steps"])  # type: ignore[call-overload]
        self._now, self._first = ([Moments(*one) for one in state[name]] for name in ("now", "first"))  # type: ignore[attr-defined]

    @contextmanager
    def watching(self) -> Iterator[list[Moments]]:
        """Give the list that `hold` wants, filled while the trunk computes gradients within."""
        seen: list[Moments] = []

        def note(_layer: object, _inputs: object, added: Tensor) -> None:
            seen.append(moments(added.permute(0, 2, 3, 1)))

        with watched(self._layers, note):
            yield seen

    @torch.no_grad()
    def hold(self, seen: Sequence[Moments]) -> None:
        """Take note of the moments of a step, one per block, and draw back the layers that went too far."""
        keep = min(KEEP, self._steps / (self._steps + 1))
        self._now = [
            Moments(new.mean.lerp(old.mean, keep), new.deviation.lerp(old.deviation, keep))
            for old, new in zip(self._now or seen, seen, strict=True)
        ]
        self._steps += 1
        if self._steps < SETTLED:
            return
        self._first = self._first or self._now
        self._now = [self._held(*entry) for entry in zip(self._layers, self._now, self._first, strict=True)]

    @staticmethod
    def _held(layer: torch.nn.Conv2d, now: Moments, first: Moments) -> Moments:
        shrink = (GROWTH * first.deviation / now.deviation.clamp(min=1e-6)).clamp(max=1)
        reach = SHIFT * first.deviation
        mean = now.mean.clamp(first.mean - reach, first.mean + reach)
        layer.weight *= shrink[:, None, None, None]
        bias = cast("Tensor", layer.bias)
        bias.copy_(bias * shrink + (mean - now.mean * shrink))
        return Moments(mean, now.deviation * shrink)


def moments(added: Tensor) -> Moments:
    """Return the moments of what a block adds, (..., C)."""
    variance, mean = torch.var_mean(added.detach().flatten(0, -2).float(), 0, correction=0)
    return Moments(mean, variance.sqrt())
