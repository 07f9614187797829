"""FFDNet in bfloat16 on a processor that multiplies it: half the time, and less than 0.1 dB from 12/255 of noise up."""

import functools
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.cancellation import cancellation_point
from models.diffusion.ffdnet import FFDNet


class FFDNetBFloat16(nn.Module):
    """The convolutions of an FFDNet in bfloat16, but for what would cost quality: the biases and the last one.

    `conv2d` wants a bias of the type of the weights; a bias rounded to 8 bits shifts whole regions of an image, which
    costs as much quality as all else that is rounded. oneDNN, which computes it, takes a bias in float32.
    """

    def __init__(self, network: FFDNet) -> None:
        """Take a network in float32 on the CPU. It is not changed, and shares its biases and its last convolution."""
        super().__init__()
        *inner, last = cast("list[nn.Conv2d]", list(network.convs))
        self.weights = [_last_channels(conv.weight.detach().bfloat16()) for conv in inner]
        self.biases = [cast("Tensor", conv.bias).detach() for conv in inner]
        self.last = last

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean images in `noisy`, as FFDNet."""
        hidden = F.pixel_unshuffle(noisy, 2)
        level = sigma.view(-1, 1, 1, 1).expand(-1, 1, *hidden.shape[2:]).to(hidden)
        hidden = _last_channels(torch.cat([hidden, level], dim=1).bfloat16())
        for weight, bias in zip(self.weights, self.biases, strict=True):
            cancellation_point()  # these layers are no modules
            hidden = F.relu(convolve(hidden, weight, bias))
        clean: Tensor = self.last(hidden.float())
        return F.pixel_shuffle(clean, 2)


def convolve(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the 3x3 convolution of bfloat16 with a float32 bias, summed in float32 and rounded once."""
    if is_native():
        return torch.mkldnn_convolution(hidden, weight, bias, (1, 1), (1, 1), (1, 1), 1)
    return F.conv2d(hidden.float(), weight.float(), bias, padding=1).bfloat16()


@functools.cache
def is_native() -> bool:
    """Return whether oneDNN computes in bfloat16 here; elsewhere it is imitated, slower than float32."""
    return torch.backends.mkldnn.is_available() and bool(  # type: ignore[no-untyped-call]
        torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 - the only way to ask
    )


def _last_channels(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)
