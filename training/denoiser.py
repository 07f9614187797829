"""Train the denoiser that ships: `python -m training.denoiser --photos DIR`.

It starts from the published FFDNet, narrows it round by round to the last of `--widths` with training between, gives it
the branch of FFDNetPyramid, and trains on with a falling learning rate; or it trains a pyramid on, with `--start`.
Every other crop is made into one that the photographs lack. All of it in float32: the rounding of bfloat16 hides what
could still be learned. Interrupted, the same command goes on from its last checkpoint.
"""

import argparse
import copy
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.diffusion.ffdnet import FFDNet
from models.diffusion.network import CONFIG, Network
from models.diffusion.pyramid import FFDNetPyramid
from training.grafting import graft
from training.photos import Photos
from training.pruning import narrow
from training.rare import gray, mixed, rare, vivid
from training.records import append_row, save_whole

KINDS: dict[str, type[Network]] = {kind.__name__: kind for kind in (FFDNet, FFDNetPyramid)}
FLOOR = 1e-7
"""Added to a crop's squared error: 70 dB, beyond which nothing is to be gained."""
EVERY = 250
"""Steps between two looks at the held-out photographs, and two checkpoints."""
WATCHED_SIGMAS = (5.0, 13.8, 15.0, 25.0, 50.0)
WATCHED_RARITIES = ((vivid, 5.0), (vivid, 13.8), (gray, 50.0), (mixed, 13.8))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or go on training, until `--steps` steps are done."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    photos = Photos(options.photos, options.held_out)
    run = Run(options, photos)
    print(f"{len(photos.files)} photographs; step {run.step} of {options.steps}; on {options.device}", flush=True)
    run.train()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs to train on")
    parser.add_argument("--out", type=Path, default=Path("training/runs/denoiser"), help="checkpoints, curve, result")
    published = Path("models/diffusion/shipped/ffdnet")
    parser.add_argument("--start", type=Path, default=published, help="network to start from: a chain or a pyramid")
    parser.add_argument("--teacher", type=Path, default=published, help="network to learn from")
    parser.add_argument(
        "--widths",
        type=int,
        nargs="+",
        default=[90, 86, 82, 79, 76, 74, 72, 70, 68, 66, 64],
        help="rounds of narrowing",
    )
    parser.add_argument("--held-out", type=int, default=10, help="photographs that serve to watch the training")
    parser.add_argument("--round", type=int, default=150, help="steps after each narrowing")
    parser.add_argument("--steps", type=int, default=12000, help="steps in all")
    parser.add_argument("--until", type=int, help="stop at this step, to go on another time")
    parser.add_argument("--batch", type=int, default=12, help="crops per step")
    parser.add_argument("--side", type=int, default=96, help="side of a crop in pixels")
    parser.add_argument("--rate", type=float, default=6e-5, help="largest learning rate")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    return parser.parse_args(arguments)


class Run:
    """A training run: everything in it is decided by the options and the number of the step."""

    def __init__(self, options: argparse.Namespace, photos: Photos) -> None:
        """Begin at step 0, or go on where the last checkpoint in `options.out` stands."""
        self.options, self.photos = options, photos
        self.optimizer: torch.optim.Optimizer
        self.teacher = _kind(options.teacher).read(options.teacher).requires_grad_(requires_grad=False)
        self.teacher.to(options.device)
        start = _kind(options.start)
        self.narrowing = options.round * len(options.widths) if start is FFDNet else 0
        options.out.mkdir(parents=True, exist_ok=True)
        self.checkpoint = options.out / "checkpoint.pt"
        self.curve = options.out / "curve.csv"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True, map_location=options.device)
            self.step = int(state["step"])
            self._adopt(KINDS[state["kind"]](**state["settings"]))
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.age = int(state["age"])
        else:
            self.step = 0
            self._adopt(start.read(options.start))
            self._watch(0.0)

    def _adopt(self, network: Network) -> None:
        self.network = network.to(self.options.device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.age = 0
        self.optimizer = torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.999))

    def train(self) -> None:
        """Train to the end, and save the averaged network as a diffusers model in `options.out`."""
        begun, total, first = time.monotonic(), 0.0, self.step
        while self.step < min(self.options.steps, self.options.until or self.options.steps):
            if self.step % self.options.round == 0 and self.step <= self.narrowing:
                self._reshape(self.step // self.options.round)
            total += self._step()
            if self.step % EVERY == 0:
                steps = self.step - first  # fewer than EVERY where --until ended in between
                self._watch(total / steps)
                self._save()
                print(f"step {self.step}: {(time.monotonic() - begun) / steps:.2f} s per step", flush=True)
                begun, total, first = time.monotonic(), 0.0, self.step
        self._save()
        self.average.save(self.options.out / "result")

    def _reshape(self, turn: int) -> None:
        if not isinstance(self.average, FFDNet):
            return
        if self.step == self.narrowing:
            torch.manual_seed(0)
            self._adopt(graft(self.average.to("cpu")))
        elif self.options.widths[turn] < self.average.width:
            clean = self.photos.crops(200, 64, seed=-1 - self.step)
            noisy, sigma = self._noised(clean, -1 - self.step)
            self._adopt(narrow(self.average.to("cpu"), self.options.widths[turn], noisy, sigma))
        self._watch(0.0)

    def _step(self) -> float:
        clean = self.photos.crops(self.options.batch, self.options.side, seed=self.step)
        clean[::2] = rare(clean[::2], seed=self.step)
        noisy, sigma = self._noised(clean, self.step)
        clean, noisy, sigma = (value.to(self.options.device) for value in (clean, noisy, sigma))
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        target = (clean + self._taught(noisy, sigma)) / 2
        restored = self.network(noisy, sigma)
        loss = 10 * (((restored - target) ** 2).mean(dim=(1, 2, 3)) + FLOOR).log10().mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.step, self.age = self.step + 1, self.age + 1
        keep = min(0.9995, self.age / (self.age + 9))
        with torch.no_grad():
            for averaged, trained in zip(self.average.parameters(), self.network.parameters(), strict=True):
                averaged.lerp_(trained, 1 - keep)
        return float(loss.item())

    @torch.no_grad()
    def _taught(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return what the network that we started from makes of crops that are turned by chance, and turned back.

        In the mean over turns it is better than without them, and it does not jump from crop to crop as the clean
        pixels do, which are only one of all that a noisy crop may come from.
        """
        turns = self.step % 4
        turned = torch.rot90(noisy, turns, (2, 3))
        return torch.rot90(self.teacher(turned, sigma), -turns, (2, 3))

    def _rate(self) -> float:
        if self.step < self.narrowing:
            return float(self.options.rate * min(1.0, self.age / 20))
        done = (self.step - self.narrowing) / max(1, self.options.steps - self.narrowing)
        fall = 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
        return float(self.options.rate * min(1.0, self.age / 200) * fall)

    @staticmethod
    def _noised(clean: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Add noise of a level per crop, 0 to 75/255, mostly 1 to 28/255; return the crops and their levels."""
        draw = torch.Generator().manual_seed(seed)
        wide = torch.rand(len(clean), generator=draw) < 0.25
        level = torch.rand(len(clean), generator=draw)
        sigma = torch.where(wide, 75 * level, 1 + 27 * level) / 255
        return clean + sigma.view(-1, 1, 1, 1) * torch.randn(clean.shape, generator=draw), sigma

    def _watch(self, loss: float) -> None:
        row = {"step": self.step, "network": type(self.network).__name__, "loss": round(loss, 3), **self._quality()}
        append_row(self.curve, row)
        print(row, flush=True)

    @torch.no_grad()
    def _quality(self) -> dict[str, float]:
        """Return the mean PSNR in dB on the held-out photographs, as they are and rare, by noise level in 1/255."""
        watched = self.photos.watched()
        looks = [("psnr", level, watched) for level in WATCHED_SIGMAS]
        looks += [(kind.__name__, level, kind(watched, seed=0)) for kind, level in WATCHED_RARITIES]
        quality = {}
        for name, level, clean in looks:
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7))
            noisy = clean + level / 255 * noise
            sigma = torch.full((len(clean),), level / 255)
            restored = self.average(noisy.to(self.options.device), sigma.to(self.options.device)).cpu().clamp(0, 1)
            error = ((restored - clean) ** 2).mean(dim=(1, 2, 3))
            quality[f"{name}_{level:g}"] = round(float((-10 * torch.log10(error)).mean()), 3)
        return quality

    def _save(self) -> None:
        state = {
            "step": self.step,
            "age": self.age,
            "kind": type(self.network).__name__,
            "settings": self.network.settings,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_whole(self.checkpoint, state)


def _kind(folder: Path) -> type[Network]:
    name = str(json.loads((folder / CONFIG).read_text())["_class_name"]).removesuffix("Model")
    if name not in KINDS:
        raise ValueError(f"{folder} holds a {name}; known are {' and '.join(KINDS)}")
    return KINDS[name]


if __name__ == "__main__":
    main()
