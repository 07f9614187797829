"""What 8 bits would cost the shipped denoisers: their inner convolutions, rounded as by an int8 kernel, in float32."""

import copy

import torch
from torch import Tensor, nn

from models.diffusion.network import Network

FAR = 0.9999
"""Share of activations that the scale of a layer is to hold; what is beyond it is clipped."""
TINY = 1e-6


def rounded(network: Network, noisy: list[tuple[Tensor, Tensor]]) -> Network:
    """Return the network with weights rounded per channel and activations per layer, on scales that `noisy` calls for.

    Calibrated on the images that it is judged on, which flatters it.
    """
    result = copy.deepcopy(network)
    inner = [module for module in result.modules() if isinstance(module, nn.Conv2d) and module is not result.last]
    reach = dict.fromkeys(inner, (0.0, 0.0))

    def look(conv: nn.Conv2d, inputs: tuple[Tensor]) -> None:
        values = inputs[0].flatten()
        far = int(FAR * len(values))
        low, high = reach[conv]
        least, most = float(values.kthvalue(len(values) - far + 1).values), float(values.kthvalue(far).values)
        reach[conv] = min(low, least), max(high, most)

    hooks = [conv.register_forward_pre_hook(look) for conv in inner]
    for image, sigma in noisy:
        result(image, sigma)
    for hook in hooks:
        hook.remove()
    for conv in inner:
        step = conv.weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
        conv.weight.copy_((conv.weight / step).round() * step)
        conv.register_forward_pre_hook(_Rounding(*reach[conv]))
    return result


class _Rounding:
    def __init__(self, low: float, high: float) -> None:
        self.step = max(high - low, TINY) / 255  # a layer may give nothing but zeros
        self.lowest = round(low / self.step)

    def __call__(self, _: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        levels = torch.round(inputs[0] / self.step).clamp(self.lowest, self.lowest + 255)
        return (levels * self.step,)
