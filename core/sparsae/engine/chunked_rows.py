"""Rows that are stored in chunks, each of which has to be decoded whole: Zarr, chunked HDF5, Arrow record batches.

An evaluation decodes each chunk once: `PieceCache` keeps it while rows of it are left.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae.engine.piece_cache import PieceCache
from sparsae.engine.row_file import RowFile, unreadable
from sparsae.errors import DataError, SparsaeError

GROUP_BYTES = 1 << 20  # smaller chunks are decoded together: a call of zarr takes 0.3 ms, whatever it reads
Decode = Callable[[int, int], NDArray[Any]]


@final
class ChunkedRows(RowFile):
    """Rows in chunks.

    Parameters
    ----------
    label : str
    shape : (int, int)
    dtype : numpy.dtype
    bounds : sequence of int
        First row of each chunk, ascending, and the number of rows at the end.
    decode : callable
        Returns the rows from one bound to another, converted to this dtype where they have another one.
        Any exception that it raises becomes a `DataError` with the rows.
    columns : tuple of str, optional
    piece_rows : int, optional
        Rows of a chunk of the file, where several are decoded together because they are small.
    turn : callable, optional
        Returns the matrix with rows and columns exchanged.
    check : callable, optional
        Raises `DataError` when the file has changed.
    """

    def __init__(
        self,
        label: str,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        bounds: Sequence[int],
        decode: Decode,
        *,
        columns: tuple[str, ...] | None = None,
        piece_rows: int = 0,
        turn: Callable[[], RowFile] | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self.label, self.shape, self.dtype, self.columns = label, shape, dtype, columns
        self.in_order = True
        self.piece_rows = piece_rows or max((last - first for first, last in pairwise(bounds)), default=0)
        self._turn, self._check = turn, check
        self._bounds, self._decode = bounds, decode
        self._cache: PieceCache[NDArray[Any]] = PieceCache()

    def read_into(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Copy rows `start` to `stop` from the chunks that hold them."""
        while start < stop:
            index = bisect_right(self._bounds, start) - 1
            first, end = self._bounds[index], self._bounds[index + 1]
            last = min(stop, end)
            if last - start == end - first:  # whole: no other block needs it
                chunk = self._decode_checked(first, end)
            else:
                chunk = self._chunk(index)[start - first : last - first]
                self._cache.count(index, last - start)
            with np.errstate(over="ignore"):
                np.copyto(out[: last - start], chunk, casting="unsafe")
            out = out[last - start :]
            start = last

    def check_unchanged(self) -> None:
        """Raise `DataError` when the file has changed."""
        if self._check is not None:
            self._check()

    def transposed(self) -> RowFile | None:
        """Return the matrix with rows and columns exchanged, where the format can be read so."""
        return None if self._turn is None else self._turn()

    def _chunk(self, index: int) -> NDArray[Any]:
        """Return a chunk: from the cache, or decoded now, by one thread."""
        chunk = self._cache.find(index)
        if chunk is not None:
            return chunk
        with self._cache.turn(index):
            chunk = self._cache.find(index)
            if chunk is None:
                first, last = self._bounds[index], self._bounds[index + 1]
                chunk = self._decode_checked(first, last)
                self._cache.add(index, chunk, n_rows=last - first, n_bytes=chunk.nbytes)
                self._cache.hold(index, chunk)
        return chunk

    def _decode_checked(self, first: int, last: int) -> NDArray[Any]:
        """Decode a chunk; whatever the library raises becomes a `DataError`."""
        try:
            rows = np.asarray(self._decode(first, last))
        except SparsaeError:
            raise
        except Exception as error:
            raise unreadable(self.label, first, last, error) from error
        if rows.shape != (last - first, self.shape[1]):
            raise DataError(
                f"{self.label} changed while it was read: rows {first} to {last - 1} (counted from 0) came with "
                f"shape {rows.shape}."
            )
        return rows


def even_bounds(n_rows: int, chunk_rows: int, row_bytes: int) -> list[int]:
    """Return the bounds of chunks of equal length, several of which are taken together where they are small."""
    step = max(1, min(chunk_rows, n_rows)) * max(1, GROUP_BYTES // max(1, min(chunk_rows, n_rows) * row_bytes))
    return [*range(0, n_rows, step), n_rows]
