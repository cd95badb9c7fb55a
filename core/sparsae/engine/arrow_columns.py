"""Columns of an Arrow table (Parquet, Feather, pyarrow, polars) as rows of a matrix.

- A column holds numbers or booleans, or it is the only one and holds lists of numbers, all of one length: vectors of
  activations are often stored so.
- Whatever else it holds is refused by name.
- A missing value becomes NaN; whole numbers with missing ones become float64.

Nothing here imports pyarrow: the objects come from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import LISTED, listed, plural, printable
from sparsae.errors import DataError

TILE_ROWS = 2048  # of a row-major result that stay in the second-level cache while its columns are filled
NUMBERS: dict[str, np.dtype[Any]] = {
    "halffloat": np.dtype(np.float16),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "bool": np.dtype(bool),
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
LISTS = ("list<", "large_list<", "fixed_size_list<")


@final
@dataclass(frozen=True)
class ArrowLayout:
    """Which columns of a table make a matrix.

    Attributes
    ----------
    label : str
        How messages call the table.
    names : tuple of str
        Columns of the table.
    dtype : numpy.dtype
        Of the matrix.
    lists : bool
        Whether the only column holds lists.
    """

    label: str
    names: tuple[str, ...]
    dtype: np.dtype[Any]
    lists: bool

    def pick(self, table: Any, first_row: int = 0, width: int = 0) -> ColumnArrays:
        """Return the columns of a table or record batch that has them, without a copy where nothing is missing.

        Raises
        ------
        DataError
            When lists are not all of one length, which is `width` where it is known; names the row, counted from
            `first_row`.
        """
        if self.lists:
            return ColumnArrays([_list_values(table.column(self.names[0]), self.label, first_row, width)])
        return ColumnArrays([_values(table.column(name)) for name in self.names])


def arrow_layout(label: str, fields: Sequence[Any], nullable: Sequence[bool], advice: str) -> ArrowLayout:
    """Return the layout for these fields of a schema, or refuse those that are no numbers.

    Parameters
    ----------
    label : str
    fields : sequence of pyarrow.Field
    nullable : sequence of bool
        Whether values of the column are missing, or may be.
    advice : str
        What to do about columns that cannot be used; "{columns}" stands for their names.

    Raises
    ------
    DataError
        Names the columns.
    """
    names = [field.name for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{label} has more than one column named {printable(twice[0])}; rename them first.")
    if len(fields) == 1 and str(fields[0].type).startswith(LISTS):
        dtype = NUMBERS.get(str(fields[0].type.value_type))
        if dtype is not None:
            return ArrowLayout(label, tuple(names), _common_dtype([dtype], nullable), lists=True)
    lists = [name for name, field in zip(names, fields, strict=True) if str(field.type).startswith(LISTS)]
    if lists and len(fields) > 1:
        raise DataError(
            f"{label} has lists in {plural(len(lists), 'column')} ({listed(lists)}) beside other columns; "
            f"choose one of them alone with --columns (columns= in Python), or columns of numbers."
        )
    text = [
        (name, f"{printable(name)} ({field.type})")
        for name, field in zip(names, fields, strict=True)
        if str(field.type) not in NUMBERS
    ]
    if text:
        raise DataError(
            f"{label} has {plural(len(text), 'column')} that {'is' if len(text) == 1 else 'are'} not of numbers: "
            f"{listed([shown for _, shown in text])}. {advice.format(columns=_excluded([name for name, _ in text]))}"
        )
    dtype = _common_dtype([NUMBERS[str(field.type)] for field in fields], nullable)
    return ArrowLayout(label, tuple(names), dtype, lists=False)


@final
class ColumnArrays:
    """Columns of some rows, each an array (rows,) or, for lists, (rows, width).

    Attributes
    ----------
    n_rows, n_columns, n_bytes : int
    """

    def __init__(self, columns: list[NDArray[Any]]) -> None:
        self._columns = columns
        self.n_rows = len(columns[0]) if columns else 0
        self.n_columns = columns[0].shape[1] if columns and columns[0].ndim == 2 else len(columns)
        self.n_bytes = sum(column.nbytes for column in columns)

    def write(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Write rows `start` to `stop` into a row-major array."""
        if len(self._columns) == 1 and self._columns[0].ndim == 2:
            np.copyto(out, self._columns[0][start:stop], casting="unsafe")
            return
        for first in range(start, stop, TILE_ROWS):
            last = min(first + TILE_ROWS, stop)
            tile = out[first - start : last - start]
            for j, column in enumerate(self._columns):
                tile[:, j] = column[first:last]


def _common_dtype(dtypes: Sequence[np.dtype[Any]], nullable: Sequence[bool]) -> np.dtype[Any]:
    """Return the dtype of a matrix of such columns: that of NumPy, and a float where values may be missing.

    Beside floats it does not depend on what may be missing, since not every format tells.
    """
    common = np.result_type(*dtypes) if dtypes else np.dtype(np.float64)
    return common if common.kind == "f" or not any(nullable) else np.dtype(np.float64)


def _values(column: Any) -> NDArray[Any]:
    """Return a column as a vector; NaN where a value is missing."""
    if str(column.type) == "bool":
        column = column.cast("uint8")
    values: NDArray[Any] = column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)
    return values


def _list_values(column: Any, label: str, first_row: int, width: int) -> NDArray[Any]:
    """Return a column of lists as a matrix; a row of NaN where a list is missing.  A width of 0 is not known."""
    if hasattr(column, "chunks"):
        column = column.combine_chunks()
    lengths = np.asarray(column.value_lengths().to_numpy(zero_copy_only=False))
    present = ~np.isnan(lengths) if lengths.dtype.kind == "f" else np.ones(len(lengths), bool)
    width = width or (int(lengths[present][0]) if present.any() else 0)
    uneven = np.flatnonzero(present & (lengths != width))
    if len(uneven):
        raise DataError(
            f"{label}: row {first_row + int(uneven[0])} (counted from 0) has a list of "
            f"{int(lengths[uneven[0]])} numbers where the first has {width}; all must be of one length."
        )
    flat = _values(column.flatten()).reshape(-1, width) if width else np.empty((int(present.sum()), 0))
    if present.all():
        return flat
    whole = np.full((len(present), width), np.nan)
    whole[present] = flat
    return whole


def _excluded(names: list[str]) -> str:
    """Return what `--columns` takes to leave these columns out."""
    return ",".join(f"!{printable(name)}" for name in names[:LISTED])
