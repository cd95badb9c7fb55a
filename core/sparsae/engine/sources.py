"""Where rows come from: an array in memory, or rows read block by block from something larger.

Data is checked once: at the door when it is in memory, on the first pass when it is streamed.
It is never written to and, when streamed, never copied whole.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import FLOATS, Array
from sparsae.engine.memmap import MappedFile
from sparsae.errors import DataError

CHECK_BYTES = 1 << 22  # checked in pieces of this size, so that no temporary grows with the data


@final
class DataSource:
    """Rows of one matrix.

    Parameters
    ----------
    data : array_like (n_samples, n_visible)
        A NumPy array or what `numpy.asarray` makes one of is used in memory;
        a `numpy.memmap`, or anything else with shape, dtype and row slicing (HDF5, Zarr), is streamed.
    name : str
        How messages call it: "X" or "target".

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    streamed : bool

    Raises
    ------
    DataError
        When it is not a non-empty matrix of real numbers.
    """

    def __init__(self, data: Any, name: str) -> None:
        self.name = name
        self.streamed = _is_streamed(data)
        if not self.streamed and not isinstance(data, np.ndarray):
            if hasattr(data, "toarray"):
                raise DataError(
                    f"{name} is a sparse matrix ({type(data).__name__}); "
                    f"only dense data is supported: pass {name}.toarray()."
                )
            try:
                data = np.asarray(data)
            except ValueError as error:
                raise DataError(f"{name} cannot be made an array: {error}") from error
        self.data = np.asarray(data) if isinstance(data, np.memmap) else data  # a memmap's slices take 1 us longer
        self.dtype = np.dtype(data.dtype)
        self.shape: tuple[int, ...] = tuple(data.shape)
        self.checked = False
        if self.dtype.kind not in "fiub":
            raise DataError(
                f"{name} has dtype {self.dtype}; expected real numbers. "
                f"Convert it first, for example with numpy.asarray({name}, dtype=float)."
            )
        if len(self.shape) != 2:
            raise DataError(
                f"{name} has shape {self.shape}; expected a matrix (n_samples, n_visible), one sample a row."
                + (f" For one sample use {name}.reshape(1, -1)." if len(self.shape) == 1 else "")
            )
        if 0 in self.shape:
            raise DataError(
                f"{name} is empty: its shape is {self.shape}; at least one sample and one input are needed."
            )
        named = isinstance(data, np.memmap) and data.filename is not None
        self._file = MappedFile(data, name) if named else None

    def rows(self, where: slice, dtype: np.dtype[Any]) -> Array:
        """Return those rows in that dtype: a view where possible."""
        if self._file is not None:
            self._file.reached(where)
        try:
            rows = np.asarray(self.data[where], dtype=dtype)
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(f"{self.name}: rows {where.start} to {where.stop} cannot be read: {error}") from error
        expected = (where.stop - where.start, self.shape[1])
        if rows.shape != expected:
            raise DataError(
                f"{self.name} changed while it was read: rows {where.start} to {where.stop} came with shape "
                f"{rows.shape} instead of {expected}."
            )
        return rows

    def take(self, which: NDArray[np.intp], dtype: np.dtype[Any]) -> Array:
        """Return those rows, given in ascending order, in that dtype: a copy."""
        self.check_file()
        try:
            return np.asarray(self.data[which], dtype=dtype)
        except (OSError, ValueError, RuntimeError, TypeError, IndexError) as error:
            raise DataError(f"{self.name}: {len(which)} chosen rows cannot be read: {error}") from error

    def check_file(self) -> None:
        """Raise `DataError` when the rows are those of a mapped file and it has vanished or become shorter."""
        if self._file is not None:
            self._file.check()

    def check(self, *, unit_range: bool) -> None:
        """Check that every value is finite and, for a sigmoid output, within [0, 1].

        Raises
        ------
        DataError
            With the number of bad values and the first position, or the range found.
        """
        if self.dtype.kind == "b":
            return
        step = max(1, CHECK_BYTES // (self.shape[1] * 8))
        pieces = (slice(i, min(i + step, self.shape[0])) for i in range(0, self.shape[0], step))
        bad, first = 0, None
        low, high = np.inf, -np.inf
        for where in pieces:
            piece = self.rows(where, self.dtype)
            least, most = piece.min(), piece.max()
            if not (np.isfinite(least) and np.isfinite(most)):  # min and max carry NaN
                wrong = ~np.isfinite(piece)
                bad += int(np.count_nonzero(wrong))
                row, column = np.argwhere(wrong)[0]
                first = first or (int(row) + where.start, int(column), piece[row, column])
            low, high = min(low, float(least)), max(high, float(most))
        if first is not None:
            row, column, value = first
            raise DataError(
                f"{self.name} contains {bad} {'values that are' if bad > 1 else 'value that is'} not finite; "
                f"the first is {value} in row {row}, column {column} (counted from 0). "
                f"Remove or fill them before training."
            )
        if unit_range:
            self.check_range(low, high)
        self.checked = True

    def check_block(self, rows: Array, start: int, *, unit_range: bool) -> None:
        """Check the rows of one block on the first pass over streamed data."""
        low, high = float(rows.min()), float(rows.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            row, column = (int(i) for i in np.argwhere(~np.isfinite(rows))[0])
            raise DataError(
                f"{self.name} contains values that are not finite; "
                f"the first found is {rows[row, column]} in row {row + start}, column {column} (counted from 0). "
                f"Remove or fill them before training."
            )
        if unit_range:
            self.check_range(low, high)

    def check_range(self, low: float, high: float) -> None:
        """Raise `DataError` unless the range lies in what a sigmoid output can reproduce."""
        if low < 0 or high > 1:
            raise DataError(
                f"{self.name} has values from {low:.6g} to {high:.6g}; a sigmoid output reproduces values in [0, 1]. "
                f'Scale the data, for example (X - X.min()) / (X.max() - X.min()), or use output="linear" '
                f"(at the command line: --scale, or --output linear)."
            )


def common_dtype(source: DataSource, dtype: Any) -> np.dtype[Any]:
    """Return the dtype to compute in: the one asked for, else the data's own float32 or float64, else float64."""
    if dtype is None:
        dtype = source.dtype if source.dtype in FLOATS else np.float64
    try:
        wanted: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise DataError(f"dtype must be float32 or float64; given {dtype!r}.") from error
    if wanted not in FLOATS:
        raise DataError(f"dtype must be float32 or float64; given {wanted}.")
    return wanted


def _is_streamed(data: Any) -> bool:
    """Whether rows should be read block by block."""
    if isinstance(data, np.memmap):
        return True
    if isinstance(data, np.ndarray) or not all(hasattr(data, a) for a in ("shape", "dtype", "__getitem__")):
        return False
    if hasattr(data, "toarray"):  # a SciPy sparse matrix
        return False
    return isinstance(data.dtype, np.dtype)
