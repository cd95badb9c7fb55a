"""Mean and spread of columns, from rows that come in pieces.

Source: Chan, Golub, LeVeque (1979), pairwise update of sums of squares.  The first row is taken off all others, so that
a column of equal values has a spread of exactly zero.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from sparsae.errors import DataError, ParameterError

Rows = NDArray[np.float64]
PIECE = 1 << 15  # numbers taken in at a time: temporaries of them stay in cache


@final
class ColumnMoments:
    """Number of rows, mean of each column, and sums of squares or products of what differs from the mean.

    Parameters
    ----------
    n_visible : int
    products : bool
        Whether sums of products of all pairs of columns are kept, or sums of squares alone.

    Attributes
    ----------
    count : int
    spread : ndarray (n_visible,) or (n_visible, n_visible)
        sum (x - mean)^2, or sum (x - mean)(x - mean)'.
    largest : ndarray (n_visible,)
        Bound of the absolute differences from the first row, 0 only where they all are: it tells a constant column from
        one of tiny spread.
    """

    def __init__(self, n_visible: int, *, products: bool = False) -> None:
        self.count = 0
        self._pivot: Rows = np.zeros(n_visible)
        self._mean: Rows = np.zeros(n_visible)
        self.spread: Rows = np.zeros((n_visible, n_visible) if products else n_visible)
        self.largest: Rows = np.zeros(n_visible)
        self._products = products

    def add(self, rows: Rows) -> None:
        """Take in rows (k, n_visible)."""
        n = rows.shape[1]
        step = max(PIECE // n, n if self._products else 1)
        for start in range(0, len(rows), step):
            self._add(rows[start : start + step])

    def _add(self, rows: Rows) -> None:
        if not self.count:
            self._pivot = rows[0].copy()
        k = len(rows)
        with np.errstate(over="ignore", invalid="ignore"):  # found by `mean` and by whoever divides by the spread
            centred = rows - self._pivot
            self.largest = np.maximum(self.largest, np.abs(centred).max(axis=0))
            center = centred.mean(axis=0)
            centred -= center
            shift, weight = center - self._mean, self.count * k / (self.count + k)
            if self._products:
                self.spread += centred.T @ centred
                self.spread += weight * np.outer(shift, shift)
            else:
                self.spread += np.square(centred, out=centred).sum(axis=0) + weight * np.square(shift)
            self._mean = self._mean + shift * (k / (self.count + k))
        self.count += k

    def merge(self, other: ColumnMoments) -> None:
        """Take in the rows of another one, of the same number of columns and kind."""
        if not other.count:
            return
        if not self.count:
            self._pivot = other._pivot
        k = other.count
        with np.errstate(over="ignore", invalid="ignore"):
            apart = other._pivot - self._pivot  # exactly 0 for columns of equal values
            self.largest = np.maximum(self.largest, np.abs(apart) + other.largest)
            shift, weight = apart + (other._mean - self._mean), self.count * k / (self.count + k)
            self.spread += other.spread + weight * (np.outer(shift, shift) if self._products else np.square(shift))
            self._mean = self._mean + shift * (k / (self.count + k))
        self.count += k

    def mean(self, name: str) -> Rows:
        """Return the mean of each column (n_visible,) of the rows, which messages call `name`.

        Raises
        ------
        ParameterError
            When there were no rows.
        DataError
            When sums overflow.
        """
        if not self.count:
            raise ParameterError(f"{name} has no rows.")
        if not np.isfinite(self.spread).all():
            raise DataError(
                f"The values of {name} are too large for float64 when they are squared; divide the data first."
            )
        mean: Rows = self._pivot + self._mean
        return mean
