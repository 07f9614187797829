"""The distorted photographs as batches to learn from, which a step's number alone decides."""

import random
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from training import distorted, pseudo_mos
from training.distorted import CLEAN, Sample
from training.pseudo_mos import Scale

CLEAR_LEAD = 3.0
"""By how much the labels of two images must differ, of 100, before one is held to be better."""

WATCHED = 24
"""Crops of held-out photographs by which a training is watched, of any size that the photographs were shrunk to."""


class Batch(NamedTuple):
    """Images to learn from."""

    images: Tensor
    """Float32 RGB in [0, 1], (N, 3, side, side)."""
    clean: Tensor
    """What each of them was made of, of the same shape."""
    labels: Tensor
    """Pseudo-MOS, 0 to 100, (N,)."""
    better: Tensor
    """1 where image i of a content is surely better than image j of it, else 0; (N, N)."""

    def to(self, device: str) -> Self:
        """Return the batch on a device, images in channels-last order."""
        images = self.images.to(device, memory_format=torch.channels_last)
        return type(self)(images, self.clean.to(device), self.labels.to(device), self.better.to(device))


class Content(NamedTuple):
    """A crop with its distortions."""

    photograph: str
    samples: list[Sample]
    labels: NDArray[np.float64]
    images: NDArray[np.uint8]
    """The clean one, then its distortions: (samples, height, width, 3)."""


class QualityPhotos:
    """What `training.distorted.make` made, labeled, split into what is trained on and a few photographs held out."""

    def __init__(
        self, folder: Path, crops: Sequence[int], held_out: int, leave_out: Collection[str], scale: Scale | None = None
    ) -> None:
        """Read `crops` in `folder`; families in `leave_out` are watched but not trained on.

        `scale` is what labels are told on; left out: one that is fitted to these images.
        """
        found = list(distorted.read(folder, crops))
        spoiled = [sample.members for _, samples, _ in found for sample in samples if sample.family != CLEAN]
        self.scale = scale or pseudo_mos.fit(
            {name: [values[name] for values in spoiled] for name in pseudo_mos.MEMBERS}
        )
        everything = [self._content(*entry) for entry in found]
        names = sorted({content.photograph for content in everything})
        draw = random.Random(0)
        draw.shuffle(names)
        watched = set(names[:held_out])
        held = [content for content in everything if content.photograph in watched]
        self.watched = draw.sample(held, min(WATCHED, len(held)))
        self.trained = [_without(content, leave_out) for content in everything if content.photograph not in watched]
        self.count = sum(len(content.samples) for content in self.trained)

    def _content(self, photograph: str, samples: list[Sample], images: NDArray[np.uint8]) -> Content:
        values = {name: np.array([sample.members[name] for sample in samples]) for name in pseudo_mos.MEMBERS}
        labels = pseudo_mos.fuse(values, self.scale)
        labels[[sample.family == CLEAN for sample in samples]] = 100
        return Content(photograph, samples, labels, images)

    def batch(self, contents: int, side: int, step: int) -> Batch:
        """Return six images each of some contents: the clean one, two levels of two families, and any other."""
        draw = random.Random(step)
        images, clean, labels, marks = [], [], [], []
        for number, content in enumerate(draw.sample(self.trained, contents)):
            for index in _choose(content, draw):
                sample = content.samples[index]
                pair = np.stack([content.images[index], content.images[0]])
                image, original = _crop(pair, side, draw)
                images.append(image)
                clean.append(original)
                labels.append(content.labels[index])
                marks.append((number, sample.family, sample.level))
        better = [[_is_better(marks, labels, i, j) for j in range(len(marks))] for i in range(len(marks))]
        told = torch.tensor(labels, dtype=torch.float32), torch.tensor(better, dtype=torch.float32)
        return Batch(_values(images), _values(clean), *told)

    @torch.no_grad()
    def quality(self, network: Callable[[Tensor], Tensor], device: str) -> dict[str, float]:
        """Return how well scores agree with the labels of the held-out crops that are watched."""
        scores, labels, within = [], [], []
        for content in self.watched:
            stack = torch.from_numpy(np.array(content.images)).permute(0, 3, 1, 2)
            told = torch.cat([network(part.to(device).float() / 255).cpu() for part in torch.split(stack, 16)]).numpy()
            scores.append(told)
            labels.append(content.labels)
            within.append(float(spearmanr(told, content.labels).statistic))
        told, wanted = np.concatenate(scores), np.concatenate(labels)
        return {
            "srocc": round(float(spearmanr(told, wanted).statistic), 4),
            "srocc_within": round(float(np.mean(within)), 4),
            "mean_error": round(float(np.abs(told - wanted).mean()), 3),
        }


def _without(content: Content, leave_out: Collection[str]) -> Content:
    kept = [index for index, sample in enumerate(content.samples) if sample.family not in leave_out]
    if len(kept) == len(content.samples):
        return content
    samples = [content.samples[index] for index in kept]
    return Content(content.photograph, samples, content.labels[kept], content.images[kept])


def _choose(content: Content, draw: random.Random) -> list[int]:
    families: dict[str, list[int]] = {}
    for index, sample in enumerate(content.samples):
        families.setdefault(sample.family, []).append(index)
    clean = families.pop(CLEAN)
    first, second, third = draw.sample(sorted(families), 3)
    pairs = [index for name in (first, second) for index in draw.sample(families[name], 2)]
    return [*clean, *pairs, draw.choice(families[third])]


def _values(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def _crop(images: NDArray[np.uint8], side: int, draw: random.Random) -> NDArray[np.uint8]:
    """Return the same part of some images, (N, side, side, 3), turned and mirrored alike."""
    top, left = draw.randint(0, images.shape[1] - side), draw.randint(0, images.shape[2] - side)
    crop = np.rot90(images[:, top : top + side, left : left + side], draw.randrange(4), (1, 2))
    return np.ascontiguousarray(crop[:, :, ::-1] if draw.random() < 0.5 else crop)


def _is_better(marks: list[tuple[int, str, int]], labels: list[float], i: int, j: int) -> float:
    (content, family, level), (other_content, other_family, other_level) = marks[i], marks[j]
    if content != other_content:
        return 0.0
    if family == other_family:
        return float(level < other_level)
    return float(labels[i] > labels[j] + CLEAR_LEAD)
