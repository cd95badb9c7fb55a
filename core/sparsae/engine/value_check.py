"""Whether the values of the data can be used: finite in the dtype computed in, and in [0, 1] for a sigmoid output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import listed, plural, printable
from sparsae.errors import DataError

ULPS = 8  # units in the last place that a value may lie outside [0, 1]: what scaling to that range leaves


@final
class ValueCheck:
    """Minimum, maximum and the values that are not finite, piece by piece.

    Parameters
    ----------
    name : str
        How messages call the data.
    dtype : numpy.dtype
        Of the data.
    computed : numpy.dtype
        Of the computation; finite values may be infinite in it.
    unit_range : bool
        Whether values must lie in [0, 1], within `ULPS` units in the last place at 1 of the coarser of both dtypes.
    in_file : bool
        Whether the data is in a file, whose reader can leave out rows with missing values.
    columns : sequence of str, optional
        Names of the columns.
    """

    def __init__(
        self,
        name: str,
        dtype: np.dtype[Any],
        computed: np.dtype[Any],
        *,
        unit_range: bool,
        in_file: bool = False,
        columns: Sequence[str] | None = None,
    ) -> None:
        self._in_file, self._columns = in_file, columns
        self._missing: Any = 0  # NaN in each column
        self._name, self._computed, self._unit_range = name, computed, unit_range
        eps = max(float(np.finfo(kind).eps) for kind in (dtype, computed) if kind.kind == "f")
        self._slack = ULPS * eps
        self._largest = np.finfo(computed).max
        self._low: Any = np.inf
        self._high: Any = -np.inf
        self._bad = 0
        self._first: tuple[int, int, Any] | None = None

    @property
    def sound(self) -> bool:
        """Whether all values so far are finite in the dtype of the computation."""
        return self._first is None

    def in_range(self, low: Any, high: Any) -> bool:
        """Whether values from `low` to `high` can be used."""
        return not self._unit_range or (low >= -self._slack and high <= 1 + self._slack)

    def add(self, rows: NDArray[Any], start: int) -> None:
        """Take in the rows that begin with number `start`, in the data's dtype."""
        low, high = rows.min(), rows.max()
        if not (low >= -self._largest and high <= self._largest):  # NaN compares false
            bad = ~(np.abs(rows) <= self._largest)
            self._bad += int(np.count_nonzero(bad))
            self._missing = self._missing + np.count_nonzero(np.isnan(rows), axis=0)
            if self._first is None:
                row, column = (int(i) for i in np.argwhere(bad)[0])
                self._first = row + start, column, rows[row, column]
        self._low, self._high = min(self._low, low), max(self._high, high)

    def finish(self) -> None:
        """Raise `DataError` when a value cannot be used."""
        if self._first is not None:
            row, column, value = self._first
            where = f"row {row}, column {column} (counted from 0)"
            if np.isfinite(value):
                raise DataError(
                    f"{self._name} has {plural(self._bad, 'value')} too large for {self._computed}, in which it is "
                    f"computed (at most {float(self._largest):.3g}); the first is {value} in {where}. "
                    f"Scale the data" + (", or use dtype=numpy.float64." if self._computed.itemsize < 8 else ".")
                )
            raise DataError(
                f"{self._name} contains {self._bad:,} {'values that are' if self._bad > 1 else 'value that is'} "
                f"not finite; the first is {value} in {where}. {self._advice()}"
            )
        if not self.in_range(self._low, self._high):
            raise DataError(
                f"{self._name} has values from {_digits(self._low)} to {_digits(self._high)}; a sigmoid output "
                f"reproduces values in [0, 1] (within {self._slack:.2g}). Scale the data, for example "
                f'(X - X.min()) / (X.max() - X.min()) (at the command line: --scale), or use output="linear".'
            )

    def _advice(self) -> str:
        """Say how many values are missing in each column, where there are several columns, and what to do."""
        counts = [(j, int(count)) for j, count in enumerate(np.atleast_1d(self._missing)) if count]
        names = self._columns or ()
        words = [f"{n:,} in column {j}" + (f" ({printable(names[j])})" if names else "") for j, n in counts]
        missing = f"NaN by column: {listed(words)}. " if len(counts) > 1 or (names and counts) else ""
        if self._in_file and counts:
            return (
                f"{missing}Fill them, or leave their rows out: drop_missing=True in sparsae.data.load, "
                f"--drop-missing at the command line."
            )
        return f"{missing}Remove or fill them first."


def check_chosen(rows: NDArray[Any], numbers: NDArray[np.intp], name: str, *, unit_range: bool) -> None:
    """Raise `DataError` where chosen rows, in the dtype computed in, hold values that cannot be used.

    Parameters
    ----------
    rows : ndarray (k, n_visible)
    numbers : ndarray (k,) of int
        Their numbers in the data, which the message names.
    name : str
        How messages call the data.
    unit_range : bool
    """
    values = ValueCheck(name, rows.dtype, rows.dtype, unit_range=unit_range)
    low, high = float(rows.min()), float(rows.max())
    if np.isfinite(low) and np.isfinite(high) and values.in_range(low, high):
        return
    for i, number in enumerate(numbers):
        values.add(rows[i : i + 1], int(number))
    values.finish()


def _digits(value: Any) -> str:
    """Return a number with six digits, or with as many as it takes to tell it from others of its dtype."""
    short = f"{float(value):.6g}"
    return short if float(short) == value else str(value)
