"""Train the FCN filters that ship: `python -m training.fcn --photos DIR`, and again with `--architecture curves`.

It attacks crops of the photographs with adv-cf (kept in `--pairs`, both architectures share them) and teaches a network
to undo that. `paper` is the recipe of Gushchin et al. (arXiv 2404.06957): whole images in batches of 4, Adam at 1e-3,
mean squared error, the epoch with the best SSIM on what was held out. `curves` is ours: parts of many sizes; some of
them not attacked, others with the curves that were found for another photograph; channels in any order; the logarithm
of the error, so that slight attacks count as much as strong ones; a rate that falls along a cosine; the last epoch.
Interrupted, the same command goes on.
"""

import argparse
import copy
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from models.attacks.adv_cf import AdvCf
from models.fcn.weights import NETWORKS, save
from models.metrics import find_metric
from models.ssim import ssim
from training import attacked
from training.attacked import Pairs
from training.records import append_row, save_whole

SLIGHT = 1e-4
"""A squared error that is as good as none."""


class Recipe(NamedTuple):
    """What the two trainings do differently."""

    network: str
    batch: int
    rate: float
    """Adam's (largest) learning rate."""
    sides: tuple[int, ...]
    """Of the part of an image that a step learns from; one is drawn for each step."""
    clean_share: float = 0
    """Probability that an image is not attacked, so that the network learns to leave such images alone."""
    exchanged_share: float = 0
    """Probability that an image gets the curves of another pair."""
    shuffles: bool = False
    """Channels are put in a random order."""
    decays: bool = False
    """The rate falls along a cosine; the last epoch is kept, not the one with the best SSIM."""
    logarithmic: bool = False
    """Minimize the mean logarithm of each image's squared error."""


RECIPES = {
    "paper": Recipe("fcn", batch=4, rate=1e-3, sides=(256,)),
    "curves": Recipe(
        "fcn-curves",
        batch=16,
        rate=2e-3,
        sides=(32, 64, 128, 192, 256),
        clean_share=0.15,
        exchanged_share=0.5,
        shuffles=True,
        decays=True,
        logarithmic=True,
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the pairs and train, or go on, until `--epochs` epochs are done."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    pairs = options.pairs or options.out / "pairs"
    attack = AdvCf(learning_rate=options.attack_rate, iterations=options.iterations)
    attacked.make(options.photos, pairs, attack, find_metric(options.metric), options.side, options.per_photo)
    run = Run(options, *attacked.read(pairs, options.held_out))
    print(f"{len(run.trained.clean)} pairs; epoch {run.epoch} of {options.epochs}; on {options.device}", flush=True)
    run.train()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs to train on")
    parser.add_argument("--architecture", choices=RECIPES, default="paper", help="the paper's network or ours")
    parser.add_argument("--out", type=Path, default=Path("training/runs/fcn"), help="checkpoints, curves, results")
    parser.add_argument("--pairs", type=Path, help="where attacked crops are kept; left out: pairs in --out")
    parser.add_argument("--metric", default="fr-surrogate", help="the metric that is attacked")
    parser.add_argument("--attack-rate", type=float, default=0.003, help="of adv-cf; the paper's 0.1 mostly fails")
    parser.add_argument("--iterations", type=int, default=10, help="of adv-cf")
    parser.add_argument("--side", type=int, default=256, help="side of the attacked crops; the paper's have 299")
    parser.add_argument("--per-photo", type=int, default=2, help="crops of each photograph")
    parser.add_argument("--held-out", type=int, default=12, help="photographs that serve to watch the training")
    parser.add_argument("--epochs", type=int, default=200, help="passes over all pairs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    return parser.parse_args(arguments)


class Run:
    """A training run: everything in it is decided by the options and the number of the epoch."""

    def __init__(self, options: argparse.Namespace, trained: Pairs, watched: Pairs) -> None:
        """Begin at epoch 0, or go on where the last checkpoint of this architecture stands."""
        self.options, self.trained, self.watched = options, trained, watched
        self.recipe = RECIPES[options.architecture]
        self.curves = attacked.curves(trained)
        self.folder = options.out / self.recipe.network
        self.folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.folder / "checkpoint.pt"
        torch.manual_seed(0)
        self.network = NETWORKS[self.recipe.network]().to(torch.device(options.device))
        self.best = copy.deepcopy(self.network.state_dict())
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.recipe.rate)
        self.epoch, self.best_ssim = 0, -math.inf
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True, map_location=options.device)
            self.epoch, self.best_ssim, self.best = int(state["epoch"]), float(state["best_ssim"]), state["best"]
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])

    def train(self) -> None:
        """Train to the end, and write the best network as it ships."""
        while self.epoch < self.options.epochs:
            begun = time.monotonic()
            loss = self._one_epoch()
            self.epoch += 1
            self._watch(loss, time.monotonic() - begun)
            self._save()
        self.network.load_state_dict(self.best)
        save(self.network, self.folder / "result")

    def _one_epoch(self) -> float:
        draw, total = random.Random(self.epoch), 0.0
        order = torch.randperm(len(self.trained.clean), generator=torch.Generator().manual_seed(self.epoch))
        parts = torch.split(order, self.recipe.batch)
        for step, which in enumerate(parts):
            if self.recipe.decays:
                done = (self.epoch + step / len(parts)) / self.options.epochs
                self.optimizer.param_groups[0]["lr"] = self.recipe.rate * (1 + math.cos(math.pi * done)) / 2
            images, clean = self._batch(which, draw)
            errors = (self.network(images) - clean).square().mean(dim=(1, 2, 3))
            loss = (errors + SLIGHT).log().mean() if self.recipe.logarithmic else errors.mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += float(loss.item())
        return total / len(parts)

    def _batch(self, which: Tensor, draw: random.Random) -> tuple[Tensor, Tensor]:
        side = min(draw.choice(self.recipe.sides), self.trained.clean.shape[-1])
        images, clean = self.trained.batch(which, side, draw)
        if self.recipe.exchanged_share:
            others = self.curves[torch.tensor(draw.choices(range(len(self.curves)), k=len(which)))]
            bent = others.gather(2, clean.mul(255).round().long().flatten(2)).view(clean.shape).float() / 255
            images = torch.where(self._chance(self.recipe.exchanged_share, which, draw), bent, images)
        if self.recipe.shuffles:
            order = draw.sample(range(3), 3)
            images, clean = images[:, order], clean[:, order]
        images = torch.where(self._chance(self.recipe.clean_share, which, draw), clean, images)
        return images.to(self.options.device), clean.to(self.options.device)

    @staticmethod
    def _chance(share: float, which: Tensor, draw: random.Random) -> Tensor:
        return torch.tensor([draw.random() < share for _ in which]).view(-1, 1, 1, 1)

    def _watch(self, loss: float, seconds: float) -> None:
        quality = self._quality()
        row = {"epoch": self.epoch, "loss": f"{loss:.6f}", **quality}
        append_row(self.folder / "curve.csv", row)
        print(row, f"{seconds:.1f} s", flush=True)
        if quality["ssim"] > self.best_ssim or self.recipe.decays:
            self.best_ssim, self.best = quality["ssim"], copy.deepcopy(self.network.state_dict())

    @torch.no_grad()
    def _quality(self) -> dict[str, float]:
        """Return SSIM and PSNR in dB of what the network makes of held-out attacked crops, and SSIM of clean ones."""
        found = []
        for pair in zip(self.watched.attacked, self.watched.clean, strict=True):
            images, clean = (part[None].float() / 255 for part in pair)
            both = self.network(torch.cat([images, clean]).to(self.options.device)).clamp(0, 1).cpu()
            error = (both[:1] - clean).square().mean().clamp(min=1e-10)
            found.append([*ssim(both, clean.expand(2, -1, -1, -1)).tolist(), float(-10 * error.log10())])
        attacked_ssim, clean_ssim, psnr = (sum(column) / len(found) for column in zip(*found, strict=True))
        return {"ssim": round(attacked_ssim, 5), "psnr": round(psnr, 3), "ssim_clean": round(clean_ssim, 5)}

    def _save(self) -> None:
        state = {
            "epoch": self.epoch,
            "best_ssim": self.best_ssim,
            "best": self.best,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_whole(self.checkpoint, state)


if __name__ == "__main__":
    main()
