"""Rows of a chunked array of two axes, along either of them: what Zarr and HDF5 have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae.engine.chunked_rows import ChunkedRows, even_bounds

UNCHUNKED_BYTES = 1 << 22  # read at once of an array without chunks
Read = Callable[[int, int, int], NDArray[Any]]


def open_array_rows(
    label: str,
    read: Read,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    chunks: tuple[int, int] | None,
    *,
    axis: int,
    check: Callable[[], None],
) -> ChunkedRows:
    """Return the rows of an array, or its columns as rows.

    Parameters
    ----------
    label : str
    read : callable
        ``read(axis, first, last)`` returns that part of the array along an axis, with this axis first.
    shape : (int, int)
        Of the array.
    dtype : numpy.dtype
    chunks : (int, int) or None
        Of the array.
    axis : int
        Which of its axes are the rows.
    check : callable
        Raises `DataError` when the array has changed since it was opened.
    """
    n_rows, n_columns = shape[axis], shape[1 - axis]
    row_bytes = n_columns * dtype.itemsize
    chunk_rows = chunks[axis] if chunks else max(1, UNCHUNKED_BYTES // max(1, row_bytes))
    return ChunkedRows(
        label,
        (n_rows, n_columns),
        dtype.newbyteorder("="),
        even_bounds(n_rows, chunk_rows, row_bytes),
        lambda first, last: read(axis, first, last),
        piece_rows=min(chunk_rows, n_rows),
        turn=lambda: open_array_rows(label, read, shape, dtype, chunks, axis=1 - axis, check=check),
        check=check,
    )
