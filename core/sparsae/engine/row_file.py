"""`RowFile`: a matrix whose rows stay in a file and are read when they are needed."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural, printable
from sparsae.errors import DataError


def unreadable(label: str, start: int, stop: int, reason: object) -> DataError:
    """Return the error for rows that a library cannot read."""
    if isinstance(reason, MemoryError):
        return DataError(f"{label}: rows {start} to {stop - 1} (counted from 0) do not fit into memory at once.")
    what = " ".join(str(reason).split())[:200].rstrip(".") or type(reason).__name__
    return DataError(
        f"{label}: rows {start} to {stop - 1} (counted from 0) cannot be read; the file is damaged, or it was "
        f"truncated or removed while it was used: {printable(what)}."
    )


class RowFile(ABC):
    """Rows of a matrix in a file: ``rows.shape, rows.dtype, rows[100:200], rows[[3, 5]]``.

    `Objective`, `train` and `DataSource` take it like an array: it is loaded where it fits the memory share, and read
    block by block otherwise.  Slices and vectors of row numbers give new arrays.  Several threads may read.

    Attributes
    ----------
    label : str
        How messages call the file.
    shape : tuple of int
    dtype : numpy.dtype
        Of the rows that are returned.
    columns : tuple of str, or None
        Names of the columns, where the file has them.
    stored_as : str
        Type of the numbers in the file where NumPy has none that is like it, such as "bfloat16"; else "".
    in_order : bool
        Whether rows can only be read quickly one after another.
    piece_rows : int
        Rows that are decoded at once, at most.
    opener : callable, or None
        Opens the same rows in another process: it can be pickled and takes no arguments.  None where there is none.
    """

    label: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    columns: tuple[str, ...] | None = None
    stored_as: str = ""
    in_order: bool = False
    piece_rows: int = 1
    opener: Callable[[], RowFile] | None = None

    @abstractmethod
    def read_into(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Read rows `start` to `stop` into a C-contiguous array of this dtype and of their shape.

        Raises
        ------
        DataError
            When they cannot be read, or the file has changed; names the row.
        """

    def will_need(self, start: int, stop: int) -> None:
        """Take the hint that these rows are read next."""
        return

    def check_unchanged(self) -> None:
        """Raise `DataError` when the file has vanished or changed since it was opened, as far as that can be told."""
        return

    def transposed(self) -> RowFile | None:
        """Return the matrix with rows and columns exchanged, None where it cannot be read so."""
        return None

    @property
    def opens_elsewhere(self) -> bool:
        """Whether it can be pickled: another process, or another machine with the same files, opens it for itself."""
        return self.opener is not None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what opens it.

        Raises
        ------
        DataError
            When it has no `opener`.
        """
        if self.opener is None:
            raise DataError(f"{self.label} cannot be opened by another process; load it with sparsae.data.load.")
        return _open_again, (self.opener, self.label, self.shape, self.dtype)

    @property
    def n_bytes(self) -> int:
        """Bytes that all rows take in memory."""
        size = self.dtype.itemsize
        for length in self.shape:  # Python's integers do not overflow
            size *= length
        return size

    @final
    def __len__(self) -> int:
        return self.shape[0]

    @final
    def __getitem__(self, rows: Any) -> NDArray[Any]:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            if step == 1:
                out = self._empty(max(0, stop - start))
                self.read_into(start, max(start, stop), out)
                return out
            rows = range(start, stop, step)
        numbers = np.asarray(rows)
        if numbers.dtype == bool:
            numbers = np.flatnonzero(numbers)
        if numbers.size == 0 and numbers.ndim == 1:
            return self._empty(0)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise IndexError("Rows of a file are given by a slice or a vector of row numbers.")
        out = self._empty(len(numbers))
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1  # runs of consecutive rows are read at once
        for run in np.split(np.arange(len(numbers)), breaks):
            first, count = int(numbers[run[0]]), len(run)
            if not 0 <= first <= first + count <= self.shape[0]:
                raise IndexError(f"row {first} is not one of {plural(self.shape[0], 'row')}")
            self.read_into(first, first + count, out[run[0] : run[0] + count])
        return out

    @final
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def _empty(self, n_rows: int) -> NDArray[Any]:
        try:
            return np.empty((n_rows, *self.shape[1:]), self.dtype)
        except MemoryError as error:
            raise DataError(
                f"{self.label}: {plural(n_rows, 'row')} of {self.dtype} do not fit into memory at once."
            ) from error


def _open_again(opener: Callable[[], RowFile], label: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> RowFile:
    """Open rows in another process; what is found there must be what was pickled.

    Raises
    ------
    DataError
        When the file there has another shape or type.
    """
    rows = opener()
    if (rows.shape, rows.dtype) != (shape, dtype):
        raise DataError(
            f"{label} is another file on {socket.gethostname()}: it has shape {rows.shape} of {rows.dtype} there, and "
            f"{shape} of {dtype} where the fit was started."
        )
    return rows
