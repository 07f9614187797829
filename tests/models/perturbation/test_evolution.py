"""Differential evolution beside SciPy's, and where scores of different calls cannot be compared."""

import numpy as np
import pytest
from scipy.optimize import differential_evolution

from models.perturbation.evolution import evolve


def hilly(genes):
    return (np.sin(9 * genes) + genes).sum(axis=1).astype(np.float32)


def first(size, genes):
    return np.random.default_rng(1).random((size, genes), np.float32).astype(np.float64)


@pytest.mark.parametrize(("size", "genes", "generations"), [(5, 5, 3), (40, 15, 12), (7, 1, 0), (300, 15, 2)])
def test_it_finds_what_scipy_finds(size, genes, generations):
    found = evolve(hilly, first(size, genes), generations, np.random.default_rng(7), again=False)
    theirs = differential_evolution(
        lambda candidates: hilly(candidates.T),
        [(0, 1)] * genes,
        maxiter=generations,
        init=first(size, genes),
        rng=7,
        tol=0,
        atol=0,
        polish=False,
        vectorized=True,
        updating="deferred",
    )
    np.testing.assert_allclose(found, theirs.x, rtol=0, atol=1e-15)


def test_a_population_of_one_score_ends():
    asked = []
    evolve(
        lambda genes: np.zeros(len(asked.append(genes) or genes)), first(6, 3), 9, np.random.default_rng(0), again=False
    )
    assert len(asked) == 2


def test_scores_that_each_call_shifts_are_compared_within_it_only():
    shifts = np.random.default_rng(3)

    def shifted(genes):
        return hilly(genes) + 100 * shifts.standard_normal()

    calm, restless = (
        evolve(losses, first(30, 6), 20, np.random.default_rng(7), again=losses is shifted)
        for losses in (hilly, shifted)
    )
    np.testing.assert_array_equal(calm, restless)
