"""Train the metric that ships: `python -m training.metric --photos DIR`.

It distorts crops of the photographs in many ways (kept in `--out`/images), labels each with a pseudo-MOS, and teaches a
network that started from ImageNet to tell the label without the original. Interrupted, the same command goes on from
its last checkpoint.
"""

import argparse
import copy
import json
import math
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.iqa.efficientnet_lite import STAGES, TAP_CHANNELS, TAPS
from models.iqa.fr_surrogate import FRSurrogate
from training import distorted, fast_trunk, imagenet, local_maps, pseudo_mos
from training.alive import alive
from training.distortions import FAMILIES, LEVELS
from training.leash import Leash
from training.quality_photos import Batch, QualityPhotos
from training.records import append_row, save_whole
from training.seen import Seen

SIDES = (160, 184, 208)
"""Sides of the crops that a step learns from, of images of STORED pixels."""

STORED = 208

DEAD = 1e-6
"""A feature that deviates by less is the same for all images. Divided by that, it would be all that counts once it
comes to life: it is left as it is."""

NARROW = 96
"""Inputs of a layer up to which it learns at the full rate; with more of them the rate falls as their number grows, as
in Yang et al., "Tensor Programs V" (NeurIPS 2021). Behind a ReLU6 no input is negative and Adam's steps are all of one
size, so that those of a wide layer add up: they drove the last stages of version 8 to where ReLU6 has no slope."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the images and train, or go on, until `--steps` steps are done."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    images = options.images or options.out / "images"
    plan = distorted.Plan(options.families, options.levels, tuple(options.always))
    crops: Sequence[int] = range(options.first, options.first + options.contents)
    if options.photos:
        distorted.make(options.photos, images, crops, STORED, plan, options.threads)
    else:
        crops = distorted.made(images)
    if not options.steps:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    scale = pseudo_mos.read_scale() if options.start else None
    photos = QualityPhotos(images, crops, options.held_out, options.leave_out, scale)
    (options.out / pseudo_mos.SCALE.name).write_text(json.dumps(photos.scale, indent=1) + "\n", encoding="utf-8")
    run = Run(options, photos)
    print(f"{photos.count} images; step {run.step} of {options.steps}; on {options.device}", flush=True)
    run.train()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--photos", type=Path, help="folder of photographs to train on; left out: all crops that earlier calls made"
    )
    parser.add_argument("--out", type=Path, default=Path("training/runs/metric"), help="checkpoints, curve, result")
    parser.add_argument("--images", type=Path, help="where distorted images are kept; left out: images in --out")
    parser.add_argument(
        "--start", type=Path, help="weights to start from, with the shipped scale; left out: ImageNet's"
    )
    parser.add_argument(
        "--renew",
        type=int,
        choices=range(len(STAGES)),
        metavar="STAGE",
        help=f"with --start: stages from this one on, 0 to {len(STAGES) - 1}, are ImageNet's again",
    )
    parser.add_argument("--contents", type=int, default=944, help="crops of photographs")
    parser.add_argument("--first", type=int, default=0, help="number of the first of them; training on: others are new")
    parser.add_argument("--families", type=int, default=10, help="families of distortions per crop")
    parser.add_argument("--levels", type=int, default=2, help="levels of each of them, of five")
    parser.add_argument(
        "--always", nargs="*", default=[], choices=FAMILIES, metavar="FAMILY", help="families that every crop gets"
    )
    parser.add_argument("--held-out", type=int, default=12, help="photographs that serve to watch the training")
    parser.add_argument(
        "--leave-out",
        nargs="*",
        default=[],
        choices=FAMILIES,
        metavar="FAMILY",
        help="families that are not trained on",
    )
    parser.add_argument("--steps", type=int, default=3000, help="steps in all; 0: only make the images")
    parser.add_argument("--contents-per-step", type=int, default=4, help="crops per step, 6 images of each")
    parser.add_argument(
        "--rate", type=float, default=3e-4, help="largest learning rate of the trunk; the head's is triple"
    )
    parser.add_argument(
        "--local", type=float, default=1.0, help="weight of drawing where an image is damaged; 0: not learned"
    )
    parser.add_argument(
        "--fast", action="store_true", help="bfloat16 with kernels of our own: a CPU with AVX-512, g++ and ninja"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads")
    options = parser.parse_args(arguments)
    if len(options.always) > options.families:
        parser.error(f"--always names {len(options.always)} families, --families allows {options.families}")
    if options.families > len(FAMILIES) or options.levels > len(LEVELS):
        parser.error(f"there are {len(FAMILIES)} families of {len(LEVELS)} levels each")
    if options.steps and (options.families - len(set(options.leave_out)) < 3 or options.levels < 2):
        parser.error("a step learns from two levels each of three families; these options leave fewer")
    if options.fast and not (options.device == "cpu" and fast_trunk.is_possible()):
        parser.error("--fast is for CPUs with AVX-512 and its bfloat16, and needs g++ and ninja")
    if options.renew is not None and not options.start:
        parser.error("--renew goes with --start")
    return options


def loss_of(scores: Tensor, batch: Batch) -> Tensor:
    """Return how far scores are from the labels, and how surely they order images of one content as they should."""
    regression = nn.functional.huber_loss(scores, batch.labels, delta=8.0) / 64
    lead = (scores[:, None] - scores[None]) / 4
    better = batch.better
    ranking = (nn.functional.softplus(-lead) * better).sum() / better.sum().clamp(min=1)
    return regression + ranking


class Run:
    """A training run: everything in it is decided by the options and the number of the step."""

    def __init__(self, options: argparse.Namespace, photos: QualityPhotos) -> None:
        """Begin at step 0, or go on where the last checkpoint in `options.out` stands."""
        self.options, self.photos, self.step = options, photos, 0
        self.checkpoint, self.curve = options.out / "checkpoint.pt", options.out / "curve.csv"
        torch.manual_seed(0)
        self.network = FRSurrogate().to(options.device)
        self.network.to(memory_format=torch.channels_last)
        self.leash = Leash(self.network.trunk)
        head = [*self.network.hidden.parameters(), *self.network.output.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": [weights], "times": min(1.0, NARROW / weights[0].numel())}
            for weights in (*self.network.trunk.parameters(), *self.network.damage.parameters())
        ]
        groups.append({"params": head, "times": 3.0})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=1e-4, fused=True)
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True, map_location=options.device)
            if "local" in state or "leash" not in state:
                raise ValueError(
                    f"{self.checkpoint} is of another version of the training; begin anew in another --out"
                )
            self.step = int(state["step"])
            self.network.load_state_dict(state["network"])
            self.leash.load(state["leash"])
            self.average = copy.deepcopy(self.network).eval().requires_grad_(requires_grad=False)
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        else:
            if options.start:
                self.network.load_state_dict(FRSurrogate.read(options.start).state_dict())
                if options.renew is not None:
                    self._renew(options.renew)
            else:
                self.network.trunk.load_state_dict(imagenet.trunk().state_dict())
                self._settle()
            self.average = copy.deepcopy(self.network).eval().requires_grad_(requires_grad=False)

    @torch.no_grad()
    def _settle(self) -> None:
        """Bring the features to a mean of 0 and a deviation of 1 on a first look at the images."""
        looks = [self._seen(self._batch(-1 - index).images) for index in range(12)]
        features = torch.cat([self.network.features(one.pooled, self.network.damage(one.taps)) for one in looks])
        mean, deviation = features.mean(0), features.std(0)
        self.network.mean.copy_(mean)
        self.network.deviation.copy_(torch.where(deviation < DEAD, 1, deviation.clamp(min=1e-3)))

    @torch.no_grad()
    def _renew(self, first: int) -> None:
        """Take ImageNet's weights for the stages from `first` on, of which the head knows nothing yet."""
        mean, deviation = self.network.mean.clone(), self.network.deviation.clone()
        for ours, theirs in zip(self.network.trunk.stages[first:], imagenet.trunk().stages[first:], strict=True):
            ours.load_state_dict(theirs.state_dict())
        self._settle()
        kept = 2 * sum(channels for tap, channels in zip(TAPS, TAP_CHANNELS, strict=True) if tap < first)
        self.network.mean[:kept], self.network.deviation[:kept] = mean[:kept], deviation[:kept]
        self.network.hidden.weight[:, kept:] = 0

    def _seen(self, images: Tensor) -> Seen:
        if self.options.fast:
            return fast_trunk.seen(self.network.trunk, images)
        with self.leash.watching() as added:
            taps = self.network.trunk(images)
        return Seen(self.network.pooled(taps), taps, added)

    def _batch(self, step: int) -> Batch:
        side = random.Random(f"side {step}").choice(SIDES)  # the contents are drawn with the step
        return self.photos.batch(self.options.contents_per_step, side, step).to(self.options.device)

    def train(self) -> None:
        """Train to the end, and write the averaged network."""
        begun, total = time.monotonic(), 0.0
        while self.step < self.options.steps:
            total += self._one_step()
            if self.step % 50 == 0:
                print(f"step {self.step}: loss {total / 50:.4f}, {(time.monotonic() - begun) / 50:.2f} s", flush=True)
                begun, total = time.monotonic(), 0.0
            if self.step % 400 == 0 or self.step == self.options.steps:
                self._watch()
                self._save()
        self.average.save(self.options.out / "result" / "model.safetensors")

    def _one_step(self) -> float:
        rate = self.options.rate * min(1.0, (self.step + 1) / 100)
        rate *= 0.02 + 0.98 * (1 + math.cos(math.pi * self.step / self.options.steps)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("times", 1.0)
        batch = self._batch(self.step)
        torch.manual_seed(self.step)
        seen = self._seen(batch.images)
        drawn = self.network.damage(seen.taps)
        loss = loss_of(self.network.score(self.network.features(seen.pooled, drawn)), batch)
        if self.options.local:
            loss = loss + self.options.local * local_maps.loss(drawn, batch.images, batch.clean)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.leash.hold(seen.added)
        self.step += 1
        keep = min(0.997, self.step / (self.step + 9))
        with torch.no_grad():
            for averaged, trained in zip(self.average.parameters(), self.network.parameters(), strict=True):
                averaged.lerp_(trained, 1 - keep)
        return float(loss.item())

    def _watch(self) -> None:
        row: dict[str, float] = {"step": self.step, **self.photos.quality(self.average, self.options.device)}
        row["alive"] = round(min(alive(self.network.trunk, self._batch(-1).images)), 4)
        append_row(self.curve, row)
        print(row, flush=True)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "leash": self.leash.state(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_whole(self.checkpoint, state)


if __name__ == "__main__":
    main()
