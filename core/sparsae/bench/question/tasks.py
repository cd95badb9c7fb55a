"""What the probes of the question run; see `sparsae.bench.probe.Task`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, final

import numpy as np

import sparsae
from sparsae.bench.question.case import Case, make_case
from sparsae.bench.question.variants import VARIANTS
from sparsae.errors import ThreadsWarning
from sparsae.model import Parameters


@final
class Backprop:
    """A way of computing the gradient sums, and its error against the reference."""

    def __init__(self, case: Case, call: Callable[[], Parameters]) -> None:
        self.run = call
        self._case = case

    def error(self) -> float:
        """Largest error, in units of what rounding explains."""
        return self._case.error(self.run())


@final
class Product:
    """`np.dot` of two matrices in given memory orders; the shapes are those of W1's gradient, delta2' a1."""

    def __init__(self, case: Case, left: str, right: str) -> None:
        self._left = _ordered(np.array(case.a2.T), left)  # (p, m)
        self._right = _ordered(np.array(case.a1), right)  # (m, n)

    def run(self) -> object:
        """Do the product."""
        return np.dot(self._left, self._right)

    def error(self) -> float:
        """Largest error against sums in extended precision, in units of what rounding of so many terms explains."""
        exact = np.einsum("pm,mn->pn", self._left, self._right, dtype=np.longdouble)
        scale = np.einsum("pm,mn->pn", abs(self._left), abs(self._right))
        bound = 8 * np.sqrt(self._left.shape[1]) * np.finfo(np.float64).eps * scale
        return float(np.max(np.abs(np.asarray(self.run()) - exact) / bound))


def variant(*, size: list[int], seed: int, name: str) -> Backprop:
    """Make a way of writing it, by its key in `VARIANTS`."""
    case = make_case(*size, seed=seed)
    return Backprop(case, VARIANTS[name].make(case))


def backend(*, size: list[int], seed: int, name: str, threads: int) -> Backprop:
    """Make a call of `sparsae.backprop` with that backend."""
    case = make_case(*size, seed=seed)
    sparsity = case.sparsity

    def call() -> Parameters:
        return sparsae.backprop(case.a1, case.a2, case.a3, case.W2, sparsity, backend=name, threads=threads)

    with warnings.catch_warnings():
        warnings.simplefilter("error", ThreadsWarning)  # a limit that is not honoured must not be timed
        call()
    return Backprop(case, call)


def product(*, size: list[int], seed: int, left: str, right: str) -> Product:
    """Make one of the four combinations of memory orders."""
    return Product(make_case(*size, seed=seed), left, right)


def _ordered(a: Any, order: str) -> Any:
    return np.ascontiguousarray(a) if order == "C" else np.asfortranarray(a)
