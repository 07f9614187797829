"""Small restoration networks as real weight files."""

import torch
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGAN

from models.restoration.mprnet import MPRNet


def compact(seed=0, channels=3, scale=4, convs=3):
    """Weights of Real-ESRGAN's small architecture: it looks at `convs` + 2 pixels around each."""
    torch.manual_seed(seed)
    network = Compact(num_in_ch=channels, num_out_ch=channels, num_feat=8, num_conv=convs, upscale=scale)
    return network.state_dict()


def rrdb(seed=0):
    """Weights of Real-ESRGAN's large architecture, at its smallest."""
    torch.manual_seed(seed)
    state = ESRGAN(in_nc=3, out_nc=3, num_filters=8, num_blocks=1, scale=4, plus=False).state_dict()
    state["model.10.bias"] += 0.5  # the last layer: a gray that is not clamped
    return state


def mprnet(seed=0):
    """Weights of a narrow MPRNet."""
    torch.manual_seed(seed)
    return MPRNet([8, 12, 16], 4, 4, 2).state_dict()


def saved(state, file):
    torch.save(state, file)
    return file
