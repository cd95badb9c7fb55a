"""Which units are active?  Ties, rows of zeros, rows with few positive units, units that are never active."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsae._types import Array
from sparsae.model import Parameters
from sparsae.testing.harness import Harness

M, N, P = 60, 5, 12
DEAD, ALWAYS = 7, 2  # a unit that is never active, and one that always is


def activity(kit: Harness) -> None:
    """Exactly the right units are active: ties, zeros, few or all positive, k = 1 and k = p, dead units, at any place.

    All numbers are small multiples of 1/4, so that pre-activations are exact whatever the order of their terms: ties
    are ties.
    """
    mixed, X = exact_parameters(kit), exact_rows(kit)
    positive = mixed._replace(b1=mixed.b1 + 4)
    shown: dict[str, dict[str, Any]] = {"": {}}
    if "k" in kit.settings(P):
        shown = {f" k={k}": {"k": k} for k in (1, 3, P - 1, P)}
    if "bandwidth" in kit.settings(P):
        shown = {" bandwidth=0.5": {"bandwidth": 0.5}}  # some rows lie exactly at its edge
    for words, options in shown.items():
        for made, rows, what in (
            (mixed, X, "ties, zeros, few positive units"),
            (mixed, X[::-1], "the same from the last row to the first"),
            (mixed, np.zeros_like(X), "rows of zeros"),
            (positive, X, "ties, every unit positive"),
        ):
            for passes in (1, 2):
                kit.label = f"{what}, m={M} n={N} p={P}{words} passes={passes}"
                found = kit.evaluate(made, rows, passes=passes, block_rows=16, **options)
                true = kit.reference(made, rows, **options)
                kit.close(
                    "the share of rows in which units are active",
                    found.density,
                    true.density,
                    2 * float(np.finfo(np.float64).eps),
                )
                kit.compare(found, made, rows, block_rows=16, **options)


def exact_parameters(kit: Harness) -> Parameters:
    """Encoder weights and thresholds that are small multiples of 1/4; one unit is dead, one always active."""
    rng = np.random.default_rng(5)
    W1, b1 = rng.integers(-1, 2, (P, N)) / 2, rng.integers(-1, 2, P) / 4
    W1[DEAD], b1[DEAD] = 0, -1
    W1[ALWAYS], b1[ALWAYS] = 0, 1
    b1[[0, 5, 6, 11]], W1[6] = 0, W1[5]  # two units that are always equal, and some that are 0 where the row is
    threshold = np.array([1, *rng.integers(0, 3, P - 1)]) / 4 if kit.activation == "jumprelu" else None
    return Parameters(W1, b1, rng.normal(size=(N, P)) / 3, rng.normal(size=N) / 3, threshold)


def exact_rows(kit: Harness) -> Array:
    """Rows of small multiples of 1/4 in [0, 1]: the first and some others zero; every other one with few positives."""
    rng = np.random.default_rng(6)
    X = (rng.integers(0, 5, (M, N)) / 4).astype(kit.dtype)
    X[1::2] *= rng.random((M, N))[1::2] < 0.3
    X[[0, 17, 31, 32, M - 1]] = 0
    return X
