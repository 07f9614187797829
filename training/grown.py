"""Give version 9 of the metric, which had none, the branch that draws damage: `python -m training.grown --images DIR`.

By hand, once: the new features weigh nothing in the head at first, the branch learns to draw while the trunk stands
still, and then the features are brought to a mean of 0 and a deviation of 1.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file

from models.iqa.fr_surrogate import SEEN, FRSurrogate
from training import distorted, fast_trunk, local_maps, pseudo_mos
from training.quality_photos import QualityPhotos

STEPS, RATE, SIDE = 100, 3e-3, 184


def main() -> None:
    """Write the weights to start from to `--out`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=Path, required=True, help="weights of version 9")
    parser.add_argument("--images", type=Path, required=True, help="crops to learn from")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    photos = QualityPhotos(options.images, distorted.made(options.images), 40, [], pseudo_mos.read_scale())
    network = grown(options.start)
    draw_damage(network, photos)
    settle(network, photos)
    network.save(options.out)


def grown(start: Path) -> FRSurrogate:
    """Return a network that scores as version 9 does."""
    torch.manual_seed(0)
    network = FRSurrogate()
    state = network.state_dict()
    for name, value in load_file(start).items():
        if name in ("mean", "deviation", "hidden.weight"):
            state[name].mul_(0 if name == "hidden.weight" else 1)
            state[name][..., :SEEN] = value
        else:
            state[name].copy_(value)
    network.load_state_dict(state)
    return network


def draw_damage(network: FRSurrogate, photos: QualityPhotos) -> None:
    """Teach the branch while the trunk stands still."""
    optimizer = torch.optim.AdamW(network.damage.parameters(), RATE)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 30) * (1 - step / STEPS) + 1e-5
        batch = photos.batch(4, SIDE, -1000 - step).to("cpu")
        with torch.no_grad():
            taps = fast_trunk.seen(network.trunk, batch.images).taps
        loss = local_maps.loss(network.damage(taps), batch.images, batch.clean)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def settle(network: FRSurrogate, photos: QualityPhotos) -> None:
    """Bring the new features to a mean of 0 and a deviation of 1."""
    looks = [fast_trunk.seen(network.trunk, photos.batch(4, SIDE, -1 - k).to("cpu").images) for k in range(12)]
    features = torch.cat([network.features(one.pooled, network.damage(one.taps)) for one in looks])[:, SEEN:]
    network.mean[SEEN:], network.deviation[SEEN:] = features.mean(0), features.std(0).clamp(min=0.1)


if __name__ == "__main__":
    main()
