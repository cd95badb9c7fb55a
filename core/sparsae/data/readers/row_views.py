"""Some columns, or some rows, of rows that stay in a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae.engine.row_file import RowFile


@final
class ChosenColumns(RowFile):
    """Some columns of rows in a file.

    Parameters
    ----------
    rows : RowFile
    chosen : sequence of int
    columns : tuple of str, optional
        Their names.
    """

    def __init__(self, rows: RowFile, chosen: Sequence[int], columns: tuple[str, ...] | None) -> None:
        self.label, self.dtype, self.columns = rows.label, rows.dtype, columns
        self.stored_as, self.in_order, self.piece_rows = rows.stored_as, rows.in_order, rows.piece_rows
        self.shape = (rows.shape[0], len(chosen))
        self._rows, self._chosen = rows, np.asarray(chosen)

    def check_unchanged(self) -> None:
        """Ask the file."""
        self._rows.check_unchanged()

    def read_into(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Read the rows whole and take the columns."""
        np.take(self._rows[start:stop], self._chosen, axis=1, out=out, mode="clip")

    def will_need(self, start: int, stop: int) -> None:
        """Pass the hint on."""
        self._rows.will_need(start, stop)

    def transposed(self) -> RowFile | None:
        """Return the chosen columns as rows, where the file can be read so."""
        turned = self._rows.transposed()
        return None if turned is None else ChosenRows(turned, self._chosen)


@final
class ChosenRows(RowFile):
    """Some rows of those in a file, in the order in which they are given.

    Parameters
    ----------
    rows : RowFile
    chosen : ndarray of int
    """

    def __init__(self, rows: RowFile, chosen: NDArray[np.integer[Any]]) -> None:
        self.label, self.dtype, self.columns = rows.label, rows.dtype, rows.columns
        self.stored_as, self.in_order, self.piece_rows = rows.stored_as, rows.in_order, rows.piece_rows
        self.shape = (len(chosen), *rows.shape[1:])
        self._rows, self._chosen = rows, chosen

    def check_unchanged(self) -> None:
        """Ask the file."""
        self._rows.check_unchanged()

    def read_into(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Read runs of consecutive rows at once."""
        numbers = self._chosen[start:stop]
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        for first, last in zip([0, *breaks], [*breaks, len(numbers)], strict=True):
            if last > first:
                self._rows.read_into(int(numbers[first]), int(numbers[last - 1]) + 1, out[first:last])


@final
class CompleteRows(RowFile):
    """The rows in a file without those that have missing values.

    Parameters
    ----------
    rows : RowFile
    dropped : ndarray of int
        Numbers of the rows that are left out, ascending.
    """

    def __init__(self, rows: RowFile, dropped: NDArray[np.int64]) -> None:
        self.label, self.dtype, self.columns = rows.label, rows.dtype, rows.columns
        self.stored_as, self.in_order, self.piece_rows = rows.stored_as, rows.in_order, rows.piece_rows
        self.shape = (rows.shape[0] - len(dropped), *rows.shape[1:])
        self._rows, self._dropped = rows, dropped
        self._before = dropped - np.arange(len(dropped))  # complete rows before each one that is left out

    def _place(self, row: int) -> int:
        """Return the number in the file of a complete row."""
        return row + int(np.searchsorted(self._before, row, side="right"))

    def check_unchanged(self) -> None:
        """Ask the file."""
        self._rows.check_unchanged()

    def read_into(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Read what lies between the rows that are left out."""
        while start < stop:
            place = self._place(start)
            following = int(np.searchsorted(self._dropped, place))
            end = int(self._dropped[following]) if following < len(self._dropped) else self._rows.shape[0]
            count = min(stop - start, end - place)
            self._rows.read_into(place, place + count, out[:count])
            out = out[count:]
            start += count

    def will_need(self, start: int, stop: int) -> None:
        """Pass the hint on."""
        self._rows.will_need(self._place(start), self._place(stop))
