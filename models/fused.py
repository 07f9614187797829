"""A convolution and the activation behind it, in one pass over memory where no gradient is wanted."""

import functools
from collections.abc import Callable
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

_ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[str, list[float], str]]] = {
    "none": (lambda hidden: hidden, ("none", [], "")),
    "relu": (functools.partial(F.relu, inplace=True), ("relu", [], "")),
    "relu6": (functools.partial(F.relu6, inplace=True), ("hardtanh", [0.0, 6.0], "")),
}
"""By name: what torch calls it, and what oneDNN does."""


class Convolution(Protocol):
    """An `nn.Conv2d` without dilation, or what stands for one in bfloat16."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    groups: int

    def __call__(self, hidden: Tensor, /) -> Tensor: ...


def activated(conv: object, hidden: Tensor, activation: str = "relu") -> Tensor:
    """Return what `conv` makes of `hidden`, (N, C, H, W), after an activation: none, relu or relu6.

    By itself an activation reads and writes everything once more, a fifth of the time where convolutions are fast, and
    torch computes 1x1 convolutions in one thread without oneDNN. oneDNN does both at once, but has no gradient for it.
    """
    conv = cast("Convolution", conv)
    plain, fused = _ACTIVATIONS[activation]
    if not _is_fusable(conv, hidden):
        return plain(conv(hidden))
    hidden = hidden.to(conv.weight.dtype).contiguous(memory_format=torch.channels_last)
    run = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001 - what torch.compile uses
    return cast("Tensor", run(hidden, conv.weight, conv.bias, conv.padding, conv.stride, (1, 1), conv.groups, *fused))


def _is_fusable(conv: Convolution, hidden: Tensor) -> bool:
    if torch.is_grad_enabled() and (hidden.requires_grad or conv.weight.requires_grad):
        return False
    tracing = torch.jit.is_tracing()  # type: ignore[no-untyped-call,attr-defined]
    if tracing or torch.compiler.is_compiling():  # what comes of it has to run elsewhere
        return False
    if hidden.device.type != "cpu" or not _is_built_in():
        return False
    return conv.weight.dtype is torch.float32 or (conv.weight.dtype is torch.bfloat16 and computes_in_bfloat16())


@functools.cache
def _is_built_in() -> bool:
    """Return whether this torch has what is no part of its documented interface."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(available) and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


@functools.cache
def computes_in_bfloat16() -> bool:
    """Return whether oneDNN computes in bfloat16 here; elsewhere it is imitated, slower than float32."""
    return torch.backends.mkldnn.is_available() and bool(  # type: ignore[no-untyped-call]
        torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 - the only way to ask
    )
