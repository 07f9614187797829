"""What an attack works on: the images, what may be done to them, and the score as the attacker can ask for it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Self

import torch
from torch import Tensor

from models.cancellation import cancellation_point
from models.defense import Defense
from models.metric import Metric
from models.noise import Noise, derive_seed

AT_ONCE = 16
"""Variants of one image that are scored together: memory."""
PIXELS_AT_ONCE = 2**22
"""So many pixels at most do they have together, unless a single one has more."""


class Slope(NamedTuple):
    """The loss of every image, and which way it grows."""

    loss: Tensor
    """(N,), detached."""
    gradient: Tensor
    """Of each image's loss with respect to that image, (N, 3, H, W), detached."""


class Clean(NamedTuple):
    """The scores of the clean images, (N,) each."""

    undefended: Tensor
    defended: Tensor
    """Mean over the draws of a stochastic defense."""


class Target:
    """Images under attack, and their loss J = 1 - s * sign / R: the smaller, the better the attack.

    s is the metric's score of the image, defended if there is a defense; R the width of the metric's range; sign is
    such that J falls as the claimed quality goes the way the attacker wants. For a metric whose range is open, R is
    the magnitude of the clean image's own score, at least 1: a query. With a stochastic defense s is the mean over
    `draws` of its randomness: fresh ones at every step, none of which an evaluator with the same seed would meet.
    With `both`, s is the clean image's score plus the lesser of two changes, of the score before and of that behind the
    defense, so that moving one of them alone gains nothing. The clean image is scored first: a query per draw.
    """

    def __init__(
        self,
        images: Tensor,
        seeds: tuple[int, ...],
        metric: Metric,
        defense: Defense | None,
        *,
        sign: int,
        draws: int,
        both: bool = False,
        budget: Tensor | None,
        width: Tensor | None = None,
        clean: Clean | None = None,
    ) -> None:
        self.images = images
        """The clean images, (N, 3, H, W), every value a 255th."""
        self.budget = budget
        """Largest change of a value in [0, 1] units, (N, 1, 1, 1), a whole number of 255ths; None: no such limit."""
        self.noise = Noise([derive_seed(seed, 1, "search") for seed in seeds])
        """The attack's own randomness, a stream per image: not that of a defense with the same seed."""
        self.queries = torch.zeros(len(images), dtype=torch.long)
        """How often each image was scored so far, (N,)."""
        self.first_slope = torch.full((len(images),), torch.nan)
        """Sum of the magnitudes of each image's first gradient, (N,); NaN: none was asked for."""
        self._seeds, self._metric, self._defense, self._sign = seeds, metric, defense, sign
        self.is_random = defense is not None and defense.is_stochastic
        """Whether the loss of the same image differs from step to step: only losses of one call can be compared."""
        self._draws = draws if self.is_random else 1
        self._range, self._both, self._clean = width, both, clean
        pixels = images.shape[2] * images.shape[3]
        self._at_once = max(len(images), 1, min(AT_ONCE, PIXELS_AT_ONCE // pixels))
        self._steps = 0

    def of(self, index: int) -> Self:
        """Return the `index`-th image as a target of its own, whose queries are counted here too.

        Its `loss` and `losses` take any number of variants of the image at once, all seen through the same draws.
        """
        one = slice(index, index + 1)
        budget = None if self.budget is None else self.budget[one]
        alone = type(self)(
            self.images[one], self._seeds[one], self._metric, self._defense,
            sign=self._sign, draws=self._draws, both=self._both, budget=budget, width=self._width()[one],
            clean=Clean(*(scores[one] for scores in self._clean_scores())) if self._both else None,
        )  # fmt: skip
        alone.noise = self.noise.of(index)
        alone.queries, alone.first_slope = self.queries[one], self.first_slope[one]  # views: they count for both
        return alone

    def loss(self, images: Tensor) -> Tensor:
        """Return the loss of each image, (N,), without a gradient."""
        return self.losses(len(images), images.detach().__getitem__)

    def losses(self, count: int, make: Callable[[slice], Tensor]) -> Tensor:
        """Return the loss of `count` images, (count,), of which `make` makes a few at a time: memory.

        `count` is a multiple of how many images there are: variants of all of them, all seen through the same draws.
        """
        draws = list(self._fresh_seeds(count))
        totals = []
        for start in range(0, count, self._at_once):
            some = slice(start, min(start + self._at_once, count))
            images = make(some)
            totals.append(torch.stack([self._scores(images, seeds[some]) for seeds in draws]).sum(0))
        width = self._width().repeat(count // len(self._seeds))
        return 1 - self._sign * torch.cat(totals) / (self._draws * width)

    def better(self, best: Tensor, lowest: Tensor, images: Tensor, loss: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the better of two variants of each image, and its loss, (N,).

        `lowest` is the loss of `best`, and `loss` that of `images`, asked for if not given. Through a random defense
        both are asked for again, through the same draws: what other draws gave says nothing about which is better.
        """
        if self.is_random:
            lowest, loss = self.losses(2 * len(best), torch.cat([best, images]).__getitem__).chunk(2)
        elif loss is None:
            loss = self.loss(images)
        wins = loss < lowest
        return torch.where(wins.view(-1, 1, 1, 1), images, best), torch.where(wins, loss, lowest)

    def gradient(self, images: Tensor) -> Slope:
        """Return the loss of each image and its gradient; no graph is kept.

        Through a defense the gradient is exact or straight-through, as the defense says.
        """
        leaf = images.detach().requires_grad_()
        parts = (self._differentiate(leaf, seeds) for seeds in self._fresh_seeds(len(images)))
        scores, gradient = next(parts)
        for more_scores, more_gradient in parts:
            scores += more_scores
            gradient += more_gradient
        factor = -self._sign / (self._draws * self._width())
        gradient *= factor.view(-1, 1, 1, 1)
        if bool(self.first_slope.isnan().any()):
            self.first_slope.copy_(gradient.abs().sum(dim=(1, 2, 3)))
        return Slope(1 + factor * scores, gradient)

    def _differentiate(self, leaf: Tensor, seeds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            scores = self._scores(leaf, seeds)
            (gradient,) = torch.autograd.grad(scores.sum(), leaf)
        return scores.detach(), gradient

    def _scores(self, images: Tensor, seeds: tuple[int, ...]) -> Tensor:
        if not self._both:
            return self._defended(images, seeds)
        clean = Clean(*(scores.repeat(len(images) // len(self._seeds)) for scores in self._clean_scores()))
        changes = self._metric(images) - clean.undefended, self._defended(images, seeds) - clean.defended
        return clean.undefended + self._sign * torch.minimum(*(self._sign * change for change in changes))

    def _defended(self, images: Tensor, seeds: tuple[int, ...]) -> Tensor:
        cancellation_point()
        return self._metric(images if self._defense is None else self._defense(images, seeds))

    @torch.no_grad()
    def _clean_scores(self) -> Clean:
        if self._clean is None:
            draws = list(self._fresh_seeds(len(self._seeds)))
            defended = torch.stack([self._defended(self.images, seeds) for seeds in draws]).mean(0)
            self._clean = Clean(self._metric(self.images), defended)
        return self._clean

    def _fresh_seeds(self, count: int) -> Iterator[tuple[int, ...]]:
        """Yield for each draw a seed per image, none of which was used before, and count the queries."""
        first = self._steps * self._draws + 1  # part 0 would be the seed itself
        self._steps += 1
        self.queries += self._draws * (count // len(self._seeds))
        for part in range(first, first + self._draws):
            seeds = tuple(derive_seed(seed, part, "attack") for seed in self._seeds)
            yield seeds * (count // len(seeds))

    def _width(self) -> Tensor:
        """Return R of each image, (N,)."""
        if self._range is None:
            low, high = self._metric.card.range
            if low is None or high is None:
                self.queries += 1
                self._range = self._metric(self.images).abs().clamp(min=1)
            else:
                self._range = torch.full((len(self.images),), high - low).to(self.images)
        return self._range
