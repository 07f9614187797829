"""EfficientNet-Lite0's trunk for training on CPUs with bfloat16: about a quarter of the time of torch's own operations.

1x1 convolutions are products of bfloat16 matrices; depthwise ones, for which oneDNN's backward pass is slow, are ours
(fast_trunk.cpp, built when first used: g++ and ninja are needed), with the ReLU6 of both sides. Parameters and their
gradients stay float32; gradients are nearer to those of float32 than the ones under `torch.autocast`.
"""

import functools
import shutil
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function

from models.iqa.efficientnet_lite import TAPS, Block, EfficientNetLite0
from training.leash import Moments, moments
from training.seen import Seen

LANES = 16


def is_possible() -> bool:
    """Return whether this CPU has the instructions, and this machine what builds for it."""
    has_tools = shutil.which("g++") and shutil.which("ninja")
    return bool(has_tools and torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001 - there is no public name for it


def seen(trunk: EfficientNetLite0, images: Tensor) -> Seen:
    """Return what a trunk makes of RGB in [0, 1], (N, 3, H, W)."""
    stem = trunk.stem(images * 2 - 1)  # in float32: bfloat16 would lose a quarter of a level of 8 bits
    features = stem.permute(0, 2, 3, 1).bfloat16().contiguous()
    pooled: list[Tensor] = []
    taps: list[Tensor] = []
    added: list[Moments] = []
    for index, stage in enumerate(trunk.stages):
        for block in cast("nn.Sequential", stage):
            features = _through(cast("Block", block), features, added)
        if index in TAPS:
            pooled += _pooled(features)
            taps.append(features.permute(0, 3, 1, 2))
    return Seen(torch.cat(pooled, 1), [taps[0], *(tap.float() for tap in taps[1:])], added)


@functools.cache
def _built() -> Any:
    from torch.utils.cpp_extension import load

    source = Path(__file__).with_suffix(".cpp")
    return load("purifiqa_fast_trunk", [str(source)], extra_cflags=["-O3", "-march=native", "-fopenmp"])


def _through(block: Block, features: Tensor, added: list[Moments]) -> Tensor:
    widening = (block.expand.weight, block.expand.bias) if block.widens else (None, None)
    depthwise, project = block.depthwise, block.project
    given = (features, *widening, depthwise.weight, depthwise.bias, project.weight, project.bias)
    result: Tensor = _Block.apply(*given, depthwise.stride[0], block.adds, added)
    return result


def _pooled(features: Tensor) -> list[Tensor]:
    """Return mean and standard deviation of each channel over the image."""
    channels = features.shape[3]
    told = _Moments.apply(F.pad(features, (0, -channels % LANES)).flatten(1, 2))[..., :channels]
    return [told[:, 0], told[:, 1]]


def _tiled(weights: Tensor) -> Tensor:
    """Return weights (C, 1, K, K) as (C / 16, K, K, 16)."""
    side = weights.shape[2]
    return weights.view(-1, LANES, side, side).permute(0, 2, 3, 1).contiguous()


class _Block(Function):
    """What `Block` computes, of values before the ReLU6 of their own layer where it does not widen them."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        widening: Tensor | None,
        shift: Tensor | None,
        weights: Tensor,
        bias: Tensor,
        narrowing: Tensor,
        last: Tensor,
        stride: int,
        adds: bool,  # noqa: FBT001 - autograd functions take no keywords
        added: list[Moments],
    ) -> Tensor:
        wide = features
        if widening is not None:
            widening = widening.flatten(1).bfloat16()
            wide = features @ widening.mT
        shift = torch.zeros_like(bias) if shift is None else shift
        tiled, narrowing = _tiled(weights), narrowing.flatten(1).bfloat16()
        filtered = _built().depthwise(wide, shift, tiled, bias, stride)
        out: Tensor = (filtered @ narrowing.mT).add_(last)  # not rounded to bfloat16, as torch.addmm would have it
        ctx.save_for_backward(features, widening, shift, tiled, narrowing, wide, filtered)
        ctx.stride, ctx.adds = stride, adds
        added.append(moments(out[::5, ::2, ::2]))  # a sample, which is enough of them
        if adds:
            out += features
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, widening, shift, tiled, narrowing, wide, filtered = ctx.saved_tensors
        gradient = gradient.contiguous()
        flat = gradient.flatten(0, 2)
        to_narrowing = (flat.mT @ filtered.flatten(0, 2)).float()[..., None, None]
        to_wide, to_tiled, to_bias, to_shift = _built().depthwise_backward(
            wide, shift, tiled.flip(1, 2), filtered, gradient @ narrowing, ctx.stride
        )
        to_widening, to_features = None, to_wide
        if widening is not None:
            to_widening = (to_wide.flatten(0, 2).mT @ features.flatten(0, 2)).float()[..., None, None]
            to_features = to_wide @ widening
        if ctx.adds:
            to_features += gradient
        to_weights = to_tiled.permute(0, 3, 1, 2).flatten(0, 1)[:, None]
        last = flat.sum(0, dtype=torch.float32)
        to_shift = None if widening is None else to_shift
        return to_features, to_widening, to_shift, to_weights, to_bias, to_narrowing, last, None, None, None


class _Moments(Function):
    """Mean and standard deviation over places, (N, 2, C), of features (N, places, C)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        told: Tensor = _built().moments(features)
        ctx.save_for_backward(features, told)
        return told

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        result: Tensor = _built().moments_backward(*ctx.saved_tensors, gradient.contiguous())
        return result
