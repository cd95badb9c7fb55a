"""Parquet: columns are decoded in order, a few thousand rows at a time, and never as a whole.

A row group often has a million rows, which would take hundreds of megabytes; so a stream decodes one from its start
to its end, and what other threads will ask for is kept in a `PieceCache`.  A stream holds one page of each column,
which is up to 1 MB in files of older programs; there are at most as many streams as threads that read.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, final

from numpy.typing import NDArray

from sparsae.data.readers.arrow import COLUMN_ADVICE, choose_fields
from sparsae.data.readers.entries import LoadedArray, ReadRequest
from sparsae.data.readers.extra import require
from sparsae.data.readers.parquet_metadata import parquet_facts
from sparsae.data.readers.source_file import SourceFile
from sparsae.engine.arrow_columns import ArrowLayout, ColumnArrays, arrow_layout
from sparsae.engine.file_state import HeldFile
from sparsae.engine.piece_cache import PieceCache
from sparsae.engine.row_file import RowFile, unreadable
from sparsae.errors import FileFormatError, SparsaeError

SIGNATURE = b"PAR1"
PIECE_BYTES = 1 << 22  # of rows that are decoded at once; half as much took a third longer for 64 columns of float32
LEAST_ROWS = 256
BUFFER_BYTES = 1 << 16  # read ahead in each column; without it Arrow reads the columns of a row group whole
IDLE = 64  # pieces after which a stream that nobody used is dropped


def read_parquet(file: SourceFile, request: ReadRequest) -> LoadedArray:
    """Open a Parquet file; its rows are read when they are needed."""
    if file.compressed:
        raise FileFormatError(f"{file.label} is a Parquet file inside {file.compression}; decompress it first.")
    rows = ParquetRows(file, request)
    return LoadedArray(rows, names=rows.columns, columns_chosen=True, missing=rows.missing)


@final
class ParquetRows(RowFile):
    """Rows of a Parquet file.

    Attributes
    ----------
    missing : tuple of int, or None
        Missing values in each column, as the file counts them; None where it does not.
    """

    def __init__(self, file: SourceFile, request: ReadRequest) -> None:
        parquet = require("pyarrow.parquet", file.label, "a Parquet file")
        self.label, self.in_order = file.label, True
        self._state = HeldFile(file.path, file.label)
        facts = parquet_facts(file)
        self._file = parquet.ParquetFile(file.path, memory_map=False, pre_buffer=False, buffer_size=BUFFER_BYTES)
        fields = choose_fields(self._file.schema_arrow, request, file.label)
        counts = [facts.nulls.get(field.name) for field in fields]
        self._layout: ArrowLayout = arrow_layout(file.label, fields, [count != 0 for count in counts], COLUMN_ADVICE)
        self._starts = [0, *accumulate(facts.rows)]
        self.dtype = self._layout.dtype
        width = self._first_width() if self._layout.lists else len(fields)
        self.shape = (self._starts[-1], width)
        self.columns = None if self._layout.lists else self._layout.names
        known = None not in counts and not self._layout.lists
        self.missing: tuple[int, ...] | None = tuple(count or 0 for count in counts) if known else None
        self._step = max(LEAST_ROWS, PIECE_BYTES // max(1, width * self.dtype.itemsize))
        self._pieces: PieceCache[ColumnArrays] = PieceCache()
        self._streams = _Streams()

    def read_into(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Copy rows `start` to `stop` from the pieces that hold them."""
        while start < stop:
            group = bisect_right(self._starts, start) - 1
            offset = start - self._starts[group]
            index = offset // self._step
            piece = self._piece(group, index)
            first = offset - index * self._step
            n_rows = min(stop - start, piece.n_rows - first)
            piece.write(first, first + n_rows, out[:n_rows])
            self._pieces.count((group, index), n_rows)
            out = out[n_rows:]
            start += n_rows

    def check_unchanged(self) -> None:
        """Raise `DataError` when the file was written to."""
        self._state.check()

    def _piece(self, group: int, index: int) -> ColumnArrays:
        """Return a piece: from the cache, or decoded now; one thread at a time decodes in a row group."""
        key = group, index
        piece = self._pieces.find(key)
        if piece is not None:
            return piece
        with self._pieces.turn(group):
            piece = self._pieces.find(key)
            if piece is None:
                piece = self._decode(group, index)
                self._pieces.hold(key, piece)
        return piece

    def _decode(self, group: int, index: int) -> ColumnArrays:
        """Decode up to that piece; those on the way are kept for other threads."""
        stream = self._streams.take(group, index) or _Stream(group, self._batches(group))
        while True:
            at = stream.index
            first = self._starts[group] + at * self._step
            n_rows = min(self._step, self._starts[group + 1] - first)
            try:
                piece = self._layout.pick(next(stream.batches), first, self.shape[1])
            except SparsaeError:
                raise
            except Exception as error:
                raise unreadable(self.label, first, first + n_rows, error) from error
            if (piece.n_rows, piece.n_columns) != (n_rows, self.shape[1]):
                raise unreadable(self.label, first, first + n_rows, "it has other rows than it promises")
            self._pieces.add((group, at), piece, n_rows=n_rows, n_bytes=piece.n_bytes)
            stream.index += 1
            if at == index:
                if first + n_rows < self._starts[group + 1]:
                    self._streams.give_back(stream)
                return piece

    def _batches(self, group: int) -> Iterator[Any]:
        batches: Iterator[Any] = self._file.iter_batches(
            self._step, row_groups=[group], columns=list(self._layout.names), use_threads=False
        )
        return batches

    def _first_width(self) -> int:
        """Return the number of columns that lists make: the length of the first that is not missing; 0 for none."""
        batches = self._file.iter_batches(1, columns=list(self._layout.names), use_threads=False)
        return next(filter(None, (self._layout.pick(batch).n_columns for batch in batches)), 0)


class _Stream:
    """A row group that is decoded from its start; `index` is the piece that comes next."""

    def __init__(self, group: int, batches: Iterator[Any]) -> None:
        self.group, self.batches = group, batches
        self.index, self.last_used = 0, 0


@final
class _Streams:
    """Streams that nobody uses at the moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Stream] = []
        self._readers: set[int] = set()
        self._uses = 0

    def take(self, group: int, index: int) -> _Stream | None:
        """Return the stream of that row group that is nearest before the piece, if there is one."""
        with self._lock:
            self._readers.add(threading.get_ident())
            before = [stream for stream in self._idle if stream.group == group and stream.index <= index]
            if not before:
                return None
            nearest = max(before, key=lambda stream: stream.index)
            self._idle.remove(nearest)
            return nearest

    def give_back(self, stream: _Stream) -> None:
        """Keep a stream for later; those that were not used for long are dropped."""
        with self._lock:
            self._uses += 1
            stream.last_used = self._uses
            recent = [other for other in self._idle if self._uses - other.last_used < IDLE]
            self._idle = [*recent, stream][-len(self._readers) :]
