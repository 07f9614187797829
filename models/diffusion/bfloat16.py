"""Networks in bfloat16 on a processor that multiplies it: faster, for less than 0.1 dB where noise is strong enough."""

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.diffusion.network import Network
from models.fused import computes_in_bfloat16

Sides = tuple[int, ...]
"""Of a convolution's stride or padding: down and across."""


def in_bfloat16(network: Network) -> Network:
    """Return the network with its convolutions in bfloat16, but for what would cost quality: biases and the last one.

    `network` is in float32 on the CPU, and is not changed.
    """
    halved = copy.deepcopy(network)
    for name, module in list(halved.named_modules()):
        if isinstance(module, nn.Conv2d) and module is not halved.last:
            owner, _, own = name.rpartition(".")
            halved.get_submodule(owner).add_module(own, Convolution(module))
    return halved


class Convolution(nn.Module):
    """A convolution with its weights in bfloat16 and its bias, as it was, in float32."""

    weight: Tensor
    groups = 1

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        weight = conv.weight.detach().bfloat16().contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", weight)
        self.bias = cast("Tensor", conv.bias).detach()
        self.stride, self.padding = conv.stride, cast("Sides", conv.padding)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden.bfloat16().contiguous(memory_format=torch.channels_last)
        return convolve(hidden, self.weight, self.bias, self.stride, self.padding)


def convolve(hidden: Tensor, weight: Tensor, bias: Tensor, stride: Sides = (1, 1), padding: Sides = (1, 1)) -> Tensor:
    """Return the convolution of bfloat16 with a float32 bias, summed in float32 and rounded once.

    `conv2d` wants a bias of the type of the weights; a bias rounded to 8 bits shifts whole regions of an image, which
    costs as much quality as all else that is rounded. oneDNN, which computes it, takes a bias in float32.
    """
    if computes_in_bfloat16():
        return torch.mkldnn_convolution(hidden, weight, bias, padding, stride, (1, 1), 1)
    return F.conv2d(hidden.float(), weight.float(), bias, stride=stride, padding=padding).bfloat16()
