"""Give a trained FFDNet the branch and the way past of FFDNetPyramid, which at first change nothing that it does."""

from typing import cast

import torch
from torch import Tensor, nn

from models.diffusion.ffdnet import FFDNet
from models.diffusion.pyramid import FFDNetPyramid, Residual


@torch.no_grad()
def graft(chain: FFDNet) -> FFDNetPyramid:
    """Return a pyramid that computes what `chain` does, and can learn more: what joins the chain starts at zero."""
    pyramid = FFDNetPyramid(width=chain.width, depth=chain.depth)
    for module in pyramid.modules():
        if isinstance(module, Residual):
            nn.init.kaiming_normal_(module.first.weight)
            nn.init.normal_(module.second.weight, std=0.01)
            _bias(module.first).zero_()
            _bias(module.second).zero_()
    pyramid.from_quarter.weight.zero_()
    _bias(pyramid.from_quarter).zero_()
    for ours, theirs in zip(pyramid.chain, chain.convs, strict=False):
        ours.load_state_dict(theirs.state_dict())
    pyramid.last.weight.zero_()
    pyramid.last.weight[:, : chain.width] = chain.last.weight
    _bias(pyramid.last).copy_(_bias(chain.last))
    return pyramid


def _bias(conv: nn.Conv2d) -> Tensor:
    return cast("Tensor", conv.bias)
