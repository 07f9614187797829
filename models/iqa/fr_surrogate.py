"""The network behind `fr-surrogate`: features of every resolution and what they tell of damage, pooled, and a head."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.iqa.damage_maps import MAPS, WIDTH, DamageMaps, Drawn
from models.iqa.efficientnet_lite import TAP_CHANNELS, EfficientNetLite0
from models.shipped import verified
from models.tensors import lasting

SHIPPED = Path(__file__).parent / "shipped" / "fr-surrogate" / "model.safetensors"
SEEN = 2 * sum(TAP_CHANNELS)
"""Features of the trunk."""
FEATURES = SEEN + 2 * (WIDTH + MAPS)
HIDDEN = 128
DROPOUT = 0.2
"""Share of the features that a training step does without."""


class FRSurrogate(nn.Module):
    """Predicts a fusion of full-reference metrics without the reference; 0.81 M parameters, no normalization layers."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.trunk = EfficientNetLite0()
        self.damage = DamageMaps()
        self.hidden = nn.Linear(FEATURES, HIDDEN)
        self.output = nn.Linear(HIDDEN, 1)
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores (N,), about 0 to 100, of RGB in [0, 1], (N, 3, H, W), H and W >= 32."""
        taps = self.trunk(images)
        return self.score(self.features(self.pooled(taps), self.damage(taps)))

    @staticmethod
    def pooled(maps: Sequence[Tensor]) -> Tensor:
        """Return the mean and the standard deviation over the image of each channel of some maps, side by side."""
        pooled = []
        for tap in maps:
            mean = tap.mean((2, 3))
            variance = (tap - mean[:, :, None, None]).square().mean((2, 3))
            pooled += [mean, (variance + 1e-6).sqrt()]
        return torch.cat(pooled, 1)

    def features(self, seen: Tensor, drawn: Drawn) -> Tensor:
        """Return all that the head is told, (N, FEATURES): what `pooled` said of the taps, (N, SEEN), and of damage."""
        return torch.cat([seen, self.pooled(drawn)], 1)

    def score(self, features: Tensor) -> Tensor:
        """Return the scores (N,) of images with these features."""
        features = (features - self.mean) / self.deviation
        features = nn.functional.dropout(features, DROPOUT, self.training)
        raw: Tensor = self.output(torch.relu(self.hidden(features)))
        return 50 + 25 * raw[:, 0]

    @classmethod
    def read(cls, file: Path = SHIPPED) -> Self:
        """Return the network in a file that `save` wrote."""
        network = cls()
        network.load_state_dict({name: value.float() for name, value in load_file(file).items()})
        return network.eval().requires_grad_(requires_grad=False)

    def save(self, file: Path) -> None:
        """Write the weights, rounded to half precision."""
        file.parent.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().half().contiguous() for name, value in self.state_dict().items()}
        save_file(state, file, metadata={"format": "pt"})


@functools.cache
def shipped(device: torch.device) -> FRSurrogate:
    """Return the shipped network on a device, loaded once. Raises ShippedWeightsError."""
    with lasting():
        return FRSurrogate.read(verified(SHIPPED)).to(device).to(memory_format=torch.channels_last)
