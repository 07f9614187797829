"""Differential evolution (Storn and Price, 1997): the steps of SciPy's, told how scores may be compared.

They end early only where all scores are equal, and nothing is polished afterwards: SciPy would do both by default.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.progress import tracked

Numbers = NDArray[np.float64]

DITHER = (0.5, 1)
"""Between which numbers the factor of differences lies, drawn for each generation."""
CROSSOVER = 0.7
"""Share of the genes that a trial does not have from its parent."""


def evolve(
    losses: Callable[[Numbers], NDArray[Any]],
    population: Numbers,
    generations: int,
    random: np.random.Generator,
    *,
    again: bool,
) -> Numbers:
    """Return the genes (D,) of least loss that a population, (M, D) from 0 to 1, M >= 3, evolves to.

    `losses` gives (M,) for (M, D). With `again` only those of one call can be compared: parents are asked about again
    beside their trials.
    """
    size = len(population)
    found, order = losses(population).astype(np.float64), np.arange(size)
    _put_best_first(population, found)
    for _ in tracked(range(generations)):
        trials = _trials(population, order, random)
        if again:
            told = losses(np.concatenate([population, trials])).astype(np.float64)
            found, tried = told[:size], told[size:]
        else:
            tried = losses(trials).astype(np.float64)
        wins = tried <= found
        population, found = np.where(wins[:, None], trials, population), np.where(wins, tried, found)
        _put_best_first(population, found)
        if found.std() == 0:
            break
    best: Numbers = population[0]
    return best


def _put_best_first(population: Numbers, found: Numbers) -> None:
    best = int(found.argmin())
    population[[0, best]], found[[0, best]] = population[[best, 0]], found[[best, 0]]


def _trials(population: Numbers, order: NDArray[np.int_], random: np.random.Generator) -> Numbers:
    """Return a trial for each member: the best one moved by the difference of two others, mixed with the member."""
    size, genes = population.shape
    factor, pairs = random.uniform(*DITHER), []
    for member in range(size):
        random.shuffle(order)
        pairs.append(order[:3][order[:3] != member][:2])
    one, other = np.array(pairs).T
    moved = population[0] + factor * (population[one] - population[other])
    sure = random.integers(genes, size=size)
    crossed = random.uniform(size=(size, genes)) < CROSSOVER
    crossed[np.arange(size), sure] = True
    trials: Numbers = np.where(crossed, moved, population)
    outside = (trials > 1) | (trials < 0)
    trials[outside] = random.uniform(size=np.count_nonzero(outside))
    return trials
