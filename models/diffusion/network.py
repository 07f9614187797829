"""What a denoising network that ships IS: convolutions that are told the noise level, in a folder as diffusers'."""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
"""The files of a model's folder, named as diffusers names them."""


class Network(nn.Module, ABC):
    """A network without normalization layers, so that tiles with a halo are computed exactly as the whole image.

    Its last convolution is called `last`: it stays in float32 where the others are in bfloat16.
    """

    multiple: ClassVar[int]
    """Height and width must be multiples of this."""
    last: nn.Conv2d

    @property
    @abstractmethod
    def halo(self) -> int:
        """How far, in pixels, a pixel's surroundings reach into its result."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, int]:
        """The arguments that made it."""

    def finish(self, hidden: Tensor) -> Tensor:
        """Return the image, (N, 3, H, W), that the last convolution makes of its input, in that one's own precision."""
        return F.pixel_shuffle(self.last(hidden.to(self.last.weight)), 2)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the network that a folder holds, as `save` and diffusers' `save_pretrained` leave it."""
        config = json.loads((folder / CONFIG).read_text())
        network = cls(**{name: value for name, value in config.items() if not name.startswith("_")})
        network.load_state_dict(load_file(folder / WEIGHTS))
        return network

    def save(self, folder: Path) -> None:
        """Write the network into a folder that its twin in `models.diffusion.diffusers_models` reads too."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {"_class_name": f"{type(self).__name__}Model", **self.settings}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def cells(noisy: Tensor, sigma: Tensor) -> Tensor:
    """Return the pixels of each 2x2 cell of `noisy`, (N, 3, H, W), and the noise `sigma` (N,): (N, 13, H/2, W/2).

    In the order of memory that convolutions want, channels last, whatever that of `noisy` is.
    """
    pixels = F.pixel_unshuffle(noisy, 2)
    level = sigma.view(-1, 1, 1, 1).expand(-1, 1, *pixels.shape[2:]).to(pixels)
    return torch.cat([pixels, level], dim=1).contiguous(memory_format=torch.channels_last)
