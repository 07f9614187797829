"""FFDNet (Zhang, Zuo, Zhang, IEEE TIP 2018, arXiv 1710.04026), without normalization layers and of any width."""

import json
from pathlib import Path
from typing import Self, cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
"""The files of a model's folder, named as diffusers names them."""


class FFDNet(nn.Module):
    """A chain of 3x3 convolutions with ReLU at half resolution, told the noise level by a constant map.

    No layer looks further than its neighbors or at statistics of the image, so a tile with a halo of `halo` pixels is
    computed exactly as within the whole image.
    """

    def __init__(self, width: int = 96, depth: int = 12) -> None:
        """Make a network of `depth` convolutions with `width` channels between them; the published one is 96, 12."""
        super().__init__()
        self.width, self.depth = width, depth
        channels = [13, *[width] * (depth - 1), 12]
        self.convs = nn.ModuleList(nn.Conv2d(channels[i], channels[i + 1], 3, padding=1) for i in range(depth))

    @property
    def halo(self) -> int:
        """How far, in pixels, a pixel's surroundings reach into its result."""
        return 2 * self.depth

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean images in `noisy`, (N, 3, H, W) with even H and W; `sigma` (N,) is their noise in [0, 1]."""
        hidden = F.pixel_unshuffle(noisy, 2)
        level = sigma.view(-1, 1, 1, 1).expand(-1, 1, *hidden.shape[2:]).to(hidden)
        hidden = torch.cat([hidden, level], dim=1)
        *inner, last = self.convs
        for conv in inner:
            hidden = F.relu(conv(hidden))
        return F.pixel_shuffle(cast("Tensor", last(hidden)), 2)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the network that a folder holds, as `save` and diffusers' `save_pretrained` leave it."""
        config = json.loads((folder / CONFIG).read_text())
        network = cls(width=config["width"], depth=config["depth"])
        network.load_state_dict(load_file(folder / WEIGHTS))
        return network

    def save(self, folder: Path) -> None:
        """Write the network into a folder that `FFDNetModel.from_pretrained` reads too."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {"_class_name": "FFDNetModel", "depth": self.depth, "width": self.width}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
