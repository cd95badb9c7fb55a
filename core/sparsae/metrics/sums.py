"""`MetricSums`: what is added up over rows, from which all figures of merit follow."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.engine.moments import ColumnMoments
from sparsae.errors import DataError
from sparsae.metrics.figures import Metrics


@final
class MetricSums:
    """Sums over rows; add blocks to it, or other sums, then ask for the `Metrics`.

    Parameters
    ----------
    n_visible, n_hidden : int
    active_above : float
        A unit is active where its activation is above this.
    """

    def __init__(self, n_visible: int, n_hidden: int, *, active_above: float = 0.0) -> None:
        self._active_above = active_above
        self._moments = ColumnMoments(n_visible)
        self._error = self._squares = self._l1 = 0.0
        self._cosine, self._directions = 0.0, 0
        self._fired: NDArray[np.int64] = np.zeros(n_hidden, np.int64)

    def add(self, a2: Array, a3: Array, target: Array) -> None:
        """Add a block: activations (k, n_hidden), outputs and targets (k, n_visible); they are not changed."""
        t = target.astype(np.float64, copy=False)  # (k, n)
        self._moments.add(t)
        difference = a3 - t  # (k, n) float64
        self._error += float(np.vdot(difference, difference))
        t_squares = np.einsum("ij,ij->i", t, t)  # (k,)
        self._squares += float(t_squares.sum())
        out = a3.astype(np.float64, copy=False)
        lengths = np.sqrt(t_squares * np.einsum("ij,ij->i", out, out))  # (k,)
        products = np.einsum("ij,ij->i", t, out)  # (k,)
        self._cosine += float(np.divide(products, lengths, out=np.zeros_like(lengths), where=lengths > 0).sum())
        self._directions += int(np.count_nonzero(t_squares))
        self._l1 += float(np.abs(a2).sum(dtype=np.float64))
        self._fired += np.count_nonzero(a2 > self._active_above, axis=0)

    def merge(self, other: MetricSums) -> None:
        """Add the sums of further rows."""
        self._moments.merge(other._moments)
        self._error += other._error
        self._squares += other._squares
        self._l1 += other._l1
        self._cosine += other._cosine
        self._directions += other._directions
        self._fired += other._fired

    def metrics(self, name: str = "X") -> Metrics:
        """Return the figures of all rows, which messages call `name`.

        Raises
        ------
        DataError
            When all rows are equal, or vary too little for float64: there is no variance to explain.
        """
        mean, m = self._moments.mean(name), self._moments.count
        variance = float(self._moments.spread.sum())
        if not variance > 0:
            varies = float(self._moments.largest.max(initial=0.0))
            if varies > 0:
                raise DataError(f"{name} varies by {varies:.3g} at most, too little for float64 when it is squared.")
            what = "is a single row" if m == 1 else f"is constant: its {m:,} rows are equal"
            raise DataError(
                f"{name} {what}, so that there is no variance to explain; give data of at least two different rows."
            )
        return Metrics(
            rows=m,
            explained_variance=1 - self._error / variance,
            nmse=self._error / self._squares,
            mse=self._error / (m * len(mean)),
            cosine=self._cosine / self._directions,
            l0=float(self._fired.sum()) / m,
            l1=self._l1 / m,
            fired=self._fired.copy(),
            active_above=self._active_above,
        )
