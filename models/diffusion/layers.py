"""A convolution and the ReLU behind it, in one pass over memory where no gradient is wanted."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.diffusion.bfloat16 import Convolution, is_native


def rectified(conv: nn.Module, hidden: Tensor) -> Tensor:
    """Return the ReLU of what `conv`, an `nn.Conv2d` or its twin in bfloat16, makes of `hidden`, (N, C, H, W).

    By itself a ReLU reads and writes everything once more, which takes a fifth of the time where convolutions are
    fast. oneDNN does both at once, to the same bits, but has no gradient for the two together.
    """
    conv = cast("nn.Conv2d | Convolution", conv)
    watched = torch.is_grad_enabled() and (hidden.requires_grad or conv.weight.requires_grad)
    if watched or hidden.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return F.relu(conv(hidden))
    if isinstance(conv, Convolution) and not is_native():
        return F.relu(conv(hidden))
    hidden = hidden.to(conv.weight.dtype).contiguous(memory_format=torch.channels_last)
    fused = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001 - what torch.compile uses
    return cast(
        "Tensor",
        fused(hidden, conv.weight, conv.bias, conv.padding, conv.stride, (1, 1), 1, "relu", [], ""),
    )
