"""Make an FFDNet narrower: drop the channels that matter least and let the rest take over what they did.

Optimal Brain Surgeon (Hassibi, Stork, NIPS 1992) for whole channels: the cost of a channel is the growth of the squared
error of the next layer's input once the weights of the channels that stay have been fitted again, in closed form.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.diffusion.ffdnet import FFDNet
from models.diffusion.network import cells

PATCHES = 60_000
RIDGE = 1e-6


@torch.no_grad()
def narrow(network: FFDNet, width: int, noisy: Tensor, sigma: Tensor) -> FFDNet:
    """Return `network` with `width` channels; `noisy` (N, 3, H, W) and `sigma` (N,) are what it is fitted on."""
    depth = len(network.convs)
    state = network.state_dict()
    weights = [state[f"convs.{layer}.weight"].clone() for layer in range(depth)]
    biases = [state[f"convs.{layer}.bias"].clone() for layer in range(depth)]
    for layer in range(depth - 1):
        hidden = _hidden(weights, biases, noisy, sigma, layer)
        second_moment = _second_moment(hidden)
        alive, refitted = _drop(second_moment, weights[layer + 1], biases[layer + 1], width)
        weights[layer], biases[layer] = weights[layer][alive], biases[layer][alive]
        weights[layer + 1], biases[layer + 1] = refitted
    narrower = FFDNet(width=width, depth=depth)
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        state[f"convs.{layer}.weight"], state[f"convs.{layer}.bias"] = weight, bias
    narrower.load_state_dict(state)
    return narrower


def _hidden(weights: list[Tensor], biases: list[Tensor], noisy: Tensor, sigma: Tensor, layer: int) -> Tensor:
    hidden = cells(noisy, sigma)
    for weight, bias in zip(weights[: layer + 1], biases[: layer + 1], strict=True):
        hidden = F.relu(F.conv2d(hidden, weight, bias, padding=1))
    return hidden


def _second_moment(hidden: Tensor) -> Tensor:
    """Return E[p p^T] over 3x3 patches p of `hidden` with a 1 appended, double, (9 C + 1, 9 C + 1)."""
    total, count = torch.zeros(0), 0
    keep = PATCHES / (len(hidden) * hidden.shape[2] * hidden.shape[3])
    chosen = torch.Generator().manual_seed(0)
    for image in hidden:
        patches = F.unfold(image[None], 3)[0].T
        patches = patches[torch.rand(len(patches), generator=chosen) < keep]
        patches = torch.cat([patches, torch.ones(len(patches), 1)], dim=1)
        product = (patches.T @ patches).double()
        total, count = product if not count else total + product, count + len(patches)
    moment = total / count
    moment[range(len(moment) - 1), range(len(moment) - 1)] += RIDGE * moment.diagonal()[:-1].mean()
    return moment


def _drop(moment: Tensor, weight: Tensor, bias: Tensor, width: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the channels that stay, and the next layer's weight and bias fitted to them."""
    target = torch.cat([weight.flatten(1), bias[:, None]], dim=1).double()  # (out, 9 C + 1)
    inverse, fitted = torch.linalg.inv(moment), target.clone()
    alive = list(range(weight.shape[1]))
    while len(alive) > width:
        taps = torch.tensor([[9 * channel + tap for tap in range(9)] for channel in alive])
        blocks = inverse[taps[:, :, None], taps[:, None, :]]
        held = fitted[:, taps].permute(1, 2, 0)  # (channels, 9, out)
        cost = (held * torch.linalg.solve(blocks, held)).sum(dim=(1, 2))
        gone = taps[cost.argmin()]
        solved = torch.linalg.solve(inverse[gone][:, gone], inverse[gone])
        fitted = fitted - fitted[:, gone] @ solved
        inverse = inverse - inverse[:, gone] @ solved
        del alive[int(cost.argmin())]
    rows = torch.tensor([9 * channel + tap for channel in alive for tap in range(9)] + [len(moment) - 1])
    exact = torch.linalg.solve(moment[rows][:, rows], moment[rows] @ target.T).T.float()
    return torch.tensor(alive), (exact[:, :-1].reshape(len(weight), len(alive), 3, 3), exact[:, -1])
