"""What a trunk makes of images, as the training of the metric looks at it."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from training.leash import Moments


class Seen(NamedTuple):
    """What a trunk makes of images."""

    pooled: Tensor
    """What `FRSurrogate.pooled` says of its features, (N, FEATURES)."""
    taps: Sequence[Tensor]
    """The features; those of the first resolution, which are many, may be in bfloat16."""
    added: Sequence[Moments]
    """Of what each block adds."""
