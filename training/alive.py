"""Whether a trunk can still learn: a unit that ReLU6 cuts off for every image passes no gradient on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.iqa.efficientnet_lite import Block, EfficientNetLite0


def alive(trunk: EfficientNetLite0, images: Tensor) -> list[float]:
    """Return for each block that widens which share of its wide values, before ReLU6, lies between 0 and 6.

    Of RGB in [0, 1], (N, 3, H, W). ImageNet's weights have 0.18 to 0.77; a block with 0.00 is dead, with all before it
    that have no other way to the score.
    """
    shares: list[float] = []

    def count(_module: object, _inputs: object, wide: Tensor) -> None:
        shares.append(float(((wide > 0) & (wide < 6)).float().mean()))

    widening = [block.expand for block in trunk.modules() if isinstance(block, Block) and block.widens]
    with watched(widening, count), torch.enable_grad():  # without gradients a layer and its activation are one
        trunk(images.detach().requires_grad_())
    return shares


@contextmanager
def watched(layers: Sequence[nn.Module], note: Callable[[object, object, Tensor], None]) -> Iterator[None]:
    """Tell `note` of each layer, its inputs and its output whenever one is computed within."""
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
