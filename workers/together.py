"""The costly part of orders: purify and score images of one size, as many at once as there is room for.

Each image is treated as if it were alone: it has its own seeds, and what it is batched with changes neither its pixels
nor its scores beyond the rounding of the network's sums.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from models.defense import Defense
from models.metric import MetricError
from models.metrics import find_metric
from models.progress import telling
from workers.spans import tracer

PURIFYING = 4
"""What a purification counts for in the fraction done; a score, and writing the file, count for one."""


@dataclass(frozen=True)
class Task:
    """What is to be computed of one image, (1, 3, H, W) on the device: a purification per seed, and scores."""

    image: Tensor
    seeds: tuple[int, ...]
    metrics: tuple[str, ...] = ()
    has_more: bool = True
    """Whether there would be an answer without one of the metrics."""


@dataclass
class Outcome:
    """What came of a task, on the CPU."""

    original: dict[str, float] = field(default_factory=dict)
    """Each metric's score of the image as it came."""
    defended: dict[str, list[float]] = field(default_factory=dict)
    """Each metric's scores of the purified images, one per seed."""
    purified: Tensor | None = None
    """The image purified with the last seed, float32 (1, 3, H', W')."""
    timings_ms: dict[str, float] = field(default_factory=dict)
    """Its share of the time that each stage took."""


class Room:
    """How many pixels a defense may compute at once: less, while this object lives, where memory once ran out."""

    def __init__(self, pixels: int) -> None:
        """`pixels` for every defense; 0: one image at a time."""
        self._most = pixels
        self._shrunk: dict[str, int] = {}

    def __bool__(self) -> bool:
        """Return whether there is any for a second image."""
        return self._most > 0

    def pixels(self, defense: Defense) -> int:
        """Return the pixels that this defense may compute at once. One image may always be larger."""
        return self._shrunk.get(defense.name, self._most)

    def shrink(self, defense: Defense, pixels: int) -> None:
        """Let no batch of this defense be larger from now on."""
        self._shrunk[defense.name] = min(pixels, self.pixels(defense))


class _Piece(NamedTuple):
    task: int
    seed: int
    is_first: bool


def compute(
    defense: Defense, tasks: Sequence[Task], room: Room, progress: Callable[[float], None] = lambda _: None
) -> list[Outcome]:
    """Purify and score the images of all tasks, which have one size; return what came of each.

    `progress` is called with the fraction done, between steps; an exception from it ends the work. Where memory of the
    device runs out, half as much is computed at once, from then on. Raises ValueError for images of several sizes,
    torch.OutOfMemoryError if one image is too much, and what the defense and the metrics raise: then which image it
    came from is not known, and each should be tried alone.
    """
    if len({task.image.shape for task in tasks}) > 1:
        raise ValueError("images of several sizes cannot be one batch")
    work = _Work(defense, tasks, progress)
    pieces = [_Piece(i, seed, is_first=not n) for i, task in enumerate(tasks) for n, seed in enumerate(task.seeds)]
    with torch.no_grad():
        while pieces:
            pixels = tasks[0].image[0, 0].numel()
            part = pieces[: max(1, room.pixels(defense) // pixels)]
            try:
                work.do(part)
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                room.shrink(defense, len(part) // 2 * pixels)
                torch.cuda.empty_cache()
                continue
            pieces = pieces[len(part) :]
    return work.outcomes


class _Work:
    """What has been done of the tasks."""

    def __init__(self, defense: Defense, tasks: Sequence[Task], progress: Callable[[float], None]) -> None:
        self._defense, self._tasks, self._progress = defense, tasks, progress
        self._total = sum(len(task.metrics) + len(task.seeds) * (PURIFYING + len(task.metrics)) + 1 for task in tasks)
        self._done = 0
        self.outcomes = [Outcome(defended={name: [] for name in task.metrics}) for task in tasks]

    def do(self, part: Sequence[_Piece]) -> None:
        """Do a part of the pieces, or nothing of it."""
        done = self._done
        try:
            firsts = [piece for piece in part if piece.is_first]
            original = self._score(firsts, [self._tasks[piece.task].image for piece in firsts], "the original image")
            with self._clock("purify", part), telling(lambda fraction: self._tell(fraction * PURIFYING * len(part))):
                images = [self._tasks[piece.task].image for piece in part]
                purified = torch.split(self._defense(_joined(images), [piece.seed for piece in part]), 1)
            self._step(PURIFYING * len(part))
            defended = self._score(part, purified, f"the image purified by {self._defense.name}")
        except torch.OutOfMemoryError:
            self._done = done
            raise
        for piece, scores in zip(firsts, original, strict=True):
            self.outcomes[piece.task].original = scores
        for piece, image, scores in zip(part, purified, defended, strict=True):
            outcome = self.outcomes[piece.task]
            for name, score in scores.items():
                outcome.defended[name].append(score)
            if piece.seed == self._tasks[piece.task].seeds[-1]:
                outcome.purified = image.cpu()

    def _score(self, pieces: Sequence[_Piece], images: Sequence[Tensor], which: str) -> list[dict[str, float]]:
        """Return the scores of each piece's image by the metrics that its task wants."""
        scores: list[dict[str, float]] = [{} for _ in pieces]
        for name in dict.fromkeys(name for piece in pieces for name in self._tasks[piece.task].metrics):
            those = [i for i, piece in enumerate(pieces) if name in self._tasks[piece.task].metrics]
            metric = find_metric(name)
            for group in [those] if metric.is_batchable else [[i] for i in those]:
                about = _explained(name, which, has_more=all(self._tasks[pieces[i].task].has_more for i in group))
                with about, self._clock("score", [pieces[i] for i in group]):
                    values = metric(_joined([images[i] for i in group])).tolist()
                for i, value in zip(group, values, strict=True):
                    scores[i][name] = value
                self._step(len(group))
        return scores

    def _step(self, count: int) -> None:
        self._done += count
        self._tell()

    def _tell(self, more: float = 0.0) -> None:
        self._progress((self._done + more) / self._total)

    @contextmanager
    def _clock(self, stage: str, pieces: Sequence[_Piece]) -> Iterator[None]:
        start = time.perf_counter()
        with tracer.start_as_current_span(stage):
            yield
        share = (time.perf_counter() - start) * 1000 / len(pieces)
        for piece in pieces:
            timings = self.outcomes[piece.task].timings_ms
            timings[stage] = round(timings.get(stage, 0.0) + share, 3)


@contextmanager
def _explained(metric: str, which: str, *, has_more: bool) -> Iterator[None]:
    """Add to a metric's error which image it is about, and how to get everything else."""
    try:
        yield
    except MetricError as error:
        cure = f"Leave out {metric} to get everything else" if has_more else "Choose another metric"
        raise type(error)(f"{error}. This is about {which}. {cure}.") from error


def _joined(images: Sequence[Tensor]) -> Tensor:
    return images[0] if len(images) == 1 else torch.cat(list(images))
