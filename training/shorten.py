"""Take the last stages, which are dead, off the metric: `python -m training.shorten --photos DIR --out FILE`.

What they still tell the head is told by a linear function of the other features, fitted on crops of photographs in many
sizes, clean and distorted; the head's first layer is linear too and takes it in.
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.iqa.efficientnet_lite import TAP_CHANNELS, TAPS
from models.iqa.fr_surrogate import SHIPPED, FRSurrogate
from training.distorted import anywhere
from training.distortions import FAMILIES, LEVELS
from training.photos import photographs

KEPT = 5
"""Stages that are kept, of seven."""
SIDES = (64, 128, 192, 256, 384)
HELD_OUT = 5
"""One in so many photographs is to try the result on."""


@torch.no_grad()
def main() -> None:
    """Fit, print how far scores move on other photographs, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, default=SHIPPED)
    parser.add_argument("--images", type=int, default=10, help="of each photograph")
    parser.add_argument("--ridge", type=float, default=1e-3, help="of the mean square of a feature")
    options = parser.parse_args()
    network = FRSurrogate.read(options.start).to(memory_format=torch.channels_last)
    split = 2 * sum(channels for tap, channels in zip(TAPS, TAP_CHANNELS, strict=True) if tap < KEPT)
    files = photographs(options.photos)
    fitted = _features(network, [file for index, file in enumerate(files) if index % HELD_OUT], options.images)
    others = _features(network, files[::HELD_OUT], options.images)
    weight = network.hidden.weight
    known = torch.cat([fitted[:, :split], torch.ones(len(fitted), 1)], 1).double()
    told = (fitted[:, split:] @ weight[:, split:].T).double()
    square = known.T @ known / len(known) + options.ridge * torch.eye(split + 1).double()
    square[-1, -1] -= options.ridge
    solution = torch.linalg.solve(square, known.T @ told / len(known)).float()
    state = {name: value for name, value in network.state_dict().items() if not _is_left_out(name)}
    state |= {"mean": network.mean[:split], "deviation": network.deviation[:split]}
    state |= {
        "hidden.weight": weight[:, :split] + solution[:-1].T,
        "hidden.bias": network.hidden.bias + solution[-1],
    }
    halved = {name: value.half().contiguous() for name, value in state.items()}
    for title, features in (("fitted", fitted), ("other photographs", others)):
        moved = _scores(network, halved, features, split) - _head(network, features)
        print(f"{title}: {len(features)} images, deviation {moved.std():.3f}, most {moved.abs().max():.2f}")
    save_file(halved, options.out, metadata={"format": "pt"})


def _features(network: FRSurrogate, files: list[Path], images: int) -> Tensor:
    """Return what the head is told of images of each photograph, one row an image."""
    rows = [network.pooled(network.trunk(image)) for image in _images(files, images)]
    return (torch.cat(rows) - network.mean) / network.deviation


def _images(files: list[Path], count: int) -> Iterator[Tensor]:
    for number, file in enumerate(files):
        draw = random.Random(number)
        for index in range(count):
            try:
                clean = anywhere(file, draw.choice(SIDES), index, shrunk=index % 2 == 1)
            except ValueError:
                continue  # a small photograph
            pixels = clean
            if draw.random() < 0.9:
                family = FAMILIES[draw.choice(sorted(FAMILIES))]
                pixels = family(clean, draw.choice(LEVELS), np.random.default_rng(index))
            yield torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def _is_left_out(name: str) -> bool:
    return any(name.startswith(f"trunk.stages.{stage}.") for stage in range(KEPT, 7))


def _head(network: FRSurrogate, features: Tensor) -> Tensor:
    raw: Tensor = network.output(torch.relu(network.hidden(features)))
    return 50 + 25 * raw[:, 0]


def _scores(network: FRSurrogate, state: dict[str, Tensor], features: Tensor, split: int) -> Tensor:
    hidden = features[:, :split] @ state["hidden.weight"].float().T + state["hidden.bias"].float()
    raw: Tensor = network.output(torch.relu(hidden))
    return 50 + 25 * raw[:, 0]


if __name__ == "__main__":
    main()
