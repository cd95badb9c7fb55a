"""What the doctor's child processes time; see `sparsae.bench.probe.Task`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

import sparsae
from sparsae.reference import evaluate_reference

Float = NDArray[np.float64]


@final
class Work:
    """Something to run, and how wrong it is."""

    def __init__(self, run: Callable[[], object], error: Callable[[], float] = lambda: 0.0) -> None:
        self.run = run
        self.error = error


def products(*, rows: int, n_visible: int, n_hidden: int) -> Work:
    """The five matrix products of one block: two forward, three backward."""
    rng = np.random.default_rng(0)
    x, delta3 = rng.standard_normal((2, rows, n_visible))
    a2, delta2 = rng.standard_normal((2, rows, n_hidden))
    W1T, W2 = rng.standard_normal((2, n_visible, n_hidden))
    W2T = np.ascontiguousarray(W2.T)
    pairs = ((x, W1T), (a2, W2T), (delta3, W2), (delta2.T, x), (delta3.T, a2))
    room = [np.empty((left.shape[0], right.shape[1])) for left, right in pairs]

    def run() -> None:
        for (left, right), out in zip(pairs, room, strict=True):
            np.dot(left, right, out=out)

    def error() -> float:
        run()
        return max(_product_error(left, right, out) for (left, right), out in zip(pairs, room, strict=True))

    return Work(run, error)


def elementwise(*, rows: int, n_visible: int, n_hidden: int) -> Work:
    """The element-wise functions of one block: tanh and exp of the output layer."""
    z = np.random.default_rng(0).standard_normal((rows, n_visible))
    room = np.empty_like(z)

    def run() -> None:
        np.tanh(z, out=room)
        np.exp(z, out=room)

    return Work(run)


def objective(*, rows: int, n_visible: int, n_hidden: int) -> Work:
    """One evaluation of cost and gradient, with the threads that sparsae is given here."""
    x = np.random.default_rng(0).uniform(0.1, 0.9, (rows * _blocks(n_visible), n_visible))
    parameters = sparsae.Parameters.random(n_visible, n_hidden, seed=0)
    theta = parameters.flatten()
    made = sparsae.Objective(x, n_hidden)  # held until the process ends

    def error() -> float:
        judgement = evaluate_reference(parameters, x)
        found = sparsae.Parameters.from_flat(made(theta)[1], n_visible, n_hidden)
        _, bound = judgement.bound(np.float64)
        parts = zip(found, judgement.gradient, bound, strict=True)
        return float(max(np.max(np.abs(a - b) / c) for a, b, c in parts))

    return Work(lambda: made(theta), error)


def pool(*, rows: int, n_visible: int, n_hidden: int) -> Work:
    """One product of whole arrays, with as many threads as the BLAS pool started with."""
    rng = np.random.default_rng(0)
    x, W1T = rng.standard_normal((rows * _blocks(n_visible), n_visible)), rng.standard_normal((n_visible, n_hidden))
    room = np.empty((len(x), n_hidden))

    def run() -> None:
        np.dot(x, W1T, out=room)

    def error() -> float:
        run()
        return _product_error(x[:rows], W1T, room[:rows])

    return Work(run, error)


def _blocks(n_visible: int) -> int:
    """Blocks of whole arrays: 10,000 rows of 64 as in the question, fewer where rows are longer."""
    return max(4, 20 * 64 // n_visible)


def _product_error(left: Any, right: Any, found: Any) -> float:
    """Largest error of a product, in units of what rounding explains."""
    exact = np.einsum("ik,kj->ij", left, right)  # NumPy's own loop: no BLAS
    scale = np.einsum("ik,kj->ij", abs(left), abs(right))
    bound = 16 * np.sqrt(left.shape[1]) * np.finfo(np.float64).eps * scale
    return float(np.max(np.abs(found - exact) / bound))
