"""Missing values: counted by column and refused, or their rows left out where that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae.data.readers.entries import LoadedArray
from sparsae.data.readers.row_views import CompleteRows
from sparsae.data.readers.source_file import shorten
from sparsae.engine.row_file import RowFile
from sparsae.errors import DataError

PIECE_BYTES = 1 << 22
LISTED = 5  # columns that a message names


def handle_missing(label: str, loaded: LoadedArray, *, drop: bool) -> LoadedArray:
    """Return the data without missing values.

    Values in memory are looked at; those of a file are, when rows are to be left out.  Otherwise what the file itself
    says is believed, and training finds values that are not finite in its first pass.

    Raises
    ------
    DataError
        When values are missing, with their number in each column; or when no row is complete.
    """
    values = loaded.values
    in_file = isinstance(values, RowFile)
    counts = np.asarray(loaded.missing if loaded.missing is not None else np.zeros(values.shape[1], np.int64))
    if values.dtype.kind == "f" and (drop or not in_file):
        counts, dropped = _find_missing(values)
    else:
        dropped = np.zeros(0, np.int64)
    if not counts.any():
        return loaded
    if not drop:
        raise missing_error(label, counts, loaded.names)
    n_rows = values.shape[0]
    if len(dropped) == n_rows:
        raise DataError(f"{label} has no row without a missing value: {_by_column(counts, loaded.names)}.")
    kept = CompleteRows(values, dropped) if in_file else _without_rows(values, dropped)
    verb = "was" if len(dropped) == 1 else "were"
    note = (
        f"{label}: {len(dropped):,} of {plural(n_rows, 'row')} {verb} left out for missing values: "
        f"{_by_column(counts, loaded.names)}."
    )
    return replace(loaded, values=kept, missing=None, notes=(*loaded.notes, note))


def missing_error(label: str, counts: Sequence[int] | NDArray[np.int64], names: Sequence[str] | None) -> DataError:
    """Return the error that counts missing values by column."""
    bad = [i for i, count in enumerate(counts) if count]
    chosen = ",".join(f"!{i + 1}" for i in bad[:LISTED])
    columns = f", or those columns with --columns '{chosen}'" if len(bad) < len(counts) and len(bad) <= LISTED else ""
    return DataError(
        f"{label} has missing values: {_by_column(counts, names)}. Fill them, or leave their rows out with "
        f"--drop-missing (drop_missing=True in Python){columns}."
    )


def _by_column(counts: Sequence[int] | NDArray[np.int64], names: Sequence[str] | None) -> str:
    """Return "3 in column 2 (age), 1 in column 5"."""
    bad = [i for i, count in enumerate(counts) if count]
    words = [
        f"{int(counts[i]):,} in column {i + 1}" + (f" ({shorten(names[i], 40)})" if names and names[i] else "")
        for i in bad[:LISTED]
    ]
    rest = len(bad) - LISTED
    return ", ".join(words) + (f" and more in {plural(rest, 'other column')}" if rest > 0 else "")


def _find_missing(values: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many values are NaN in each column, and the numbers of the rows with one."""
    counts, rows = np.zeros(values.shape[1], np.int64), []
    for start, piece in _pieces(values):
        missing = np.isnan(piece)
        if missing.any():
            counts += np.count_nonzero(missing, axis=0)
            rows.append(start + np.flatnonzero(missing.any(axis=1)))
    return counts, np.concatenate(rows) if rows else np.zeros(0, np.int64)


def _pieces(values: Any) -> Iterator[tuple[int, NDArray[Any]]]:
    n_rows, n_columns = values.shape
    step = max(1, PIECE_BYTES // (max(1, n_columns) * values.dtype.itemsize))
    for start in range(0, n_rows, step):
        yield start, values[start : start + step]


def _without_rows(values: NDArray[Any], dropped: NDArray[np.int64]) -> NDArray[Any]:
    """Move complete rows up in place, so that no second matrix is needed; return the part that they fill."""
    if not values.flags.writeable or not values.flags.c_contiguous:
        values = np.array(values)
    keep = np.ones(len(values), bool)
    keep[dropped] = False
    done = 0
    for start, piece in _pieces(values):
        complete = piece[keep[start : start + len(piece)]]
        values[done : done + len(complete)] = complete
        done += len(complete)
    return values[:done]
