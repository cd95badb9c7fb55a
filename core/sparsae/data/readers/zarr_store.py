"""Zarr, formats 2 and 3: chunks are decoded one by one.

A chunk that is not stored reads as the fill value, so that one that vanishes while it is used would silently become
zeros.  What is there, and when it was written, is noted when the array is opened and looked at when it is read.
"""

from __future__ import annotations

import json
import math
import os
from itertools import product
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae.data.readers.array_rows import open_array_rows
from sparsae.data.readers.entries import ArrayEntry, LoadedArray, ReadRequest, choose_entry, format_shape
from sparsae.data.readers.extra import require
from sparsae.data.readers.limits import check_memory
from sparsae.data.readers.npy import NUMERIC_KINDS
from sparsae.data.readers.source_file import damage_refused, shorten
from sparsae.errors import DataError, FileFormatError

ABSENT = -1  # a chunk that is not stored
MOST_CHUNKS = 10_000_000  # looked at one by one, which takes ten seconds
MARKS = ("zarr.json", ".zarray", ".zgroup", ".zmetadata")


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr array or group."""
    return any((folder / mark).is_file() for mark in MARKS)


def read_zarr(folder: Path, label: str, request: ReadRequest) -> LoadedArray:
    """Open the named array, or the only one that fits; its rows are read when they are needed.

    Raises
    ------
    FileFormatError, DataError
        When the store is damaged, or has no such matrix of numbers.
    """
    zarr = require("zarr", label, "a Zarr store")
    with damage_refused(label, "Zarr store"):
        for array_folder in {folder, folder / request.array}:
            _refuse_uneven_chunks(array_folder, label)
        node = zarr.open(str(folder), mode="r")
        if hasattr(node, "members"):
            arrays = {name: item for name, item in node.members(max_depth=None) if hasattr(item, "chunks")}
        else:
            arrays = {"": node}
        entries = [_entry(name, array) for name, array in sorted(arrays.items())]
        if request.array and "" in arrays:
            raise DataError(f"{label} is one array without a name; leave out {request.array!r}.")
        entry = entries[0] if "" in arrays else choose_entry(label, entries, request)
        array = arrays[entry.name]
        if not entry.numeric:
            raise DataError(f"{label} holds {entry.kind} values; real numbers are needed.")
        label = f"{label}:{entry.name}" if entry.name else label
        if len(entry.shape) != 2 or request.images:
            check_memory(label, 8 * int(np.prod(entry.shape, dtype=object)))
            return LoadedArray(np.asarray(array[...]))
        stored = StoredChunks(folder / entry.name, array, label)

        def read(axis: int, first: int, last: int) -> NDArray[Any]:
            rows: NDArray[Any] = np.asarray(array[first:last] if axis == 0 else array[:, first:last].T)
            stored.check(axis, first, last)
            return rows

        rows = open_array_rows(
            label, read, entry.shape, np.dtype(array.dtype), array.chunks, axis=0, check=stored.check_all
        )
        return LoadedArray(rows, notes=stored.notes)


def _refuse_uneven_chunks(folder: Path, label: str) -> None:
    """Raise `FileFormatError` for an array whose chunks are not all of one shape."""
    path = folder / "zarr.json"
    if not path.is_file():
        return
    grid = json.loads(path.read_text(encoding="utf-8")).get("chunk_grid", {}).get("name", "regular")
    if grid != "regular":
        raise FileFormatError(
            f"{label} has chunks of unequal shapes (chunk grid {shorten(grid, 40)!r}), which are not read; "
            f"write it again with chunks of one shape."
        )


def _entry(name: str, array: Any) -> ArrayEntry:
    dtype = np.dtype(array.dtype)
    numeric = dtype.kind in NUMERIC_KINDS
    return ArrayEntry(name, tuple(array.shape), str(dtype), numeric, lambda: np.asarray(array[...]))


@final
class StoredChunks:
    """The files of an array's chunks (of its shards, where chunks are gathered in shards).

    Attributes
    ----------
    notes : tuple of str
        Says how many chunks were not stored in the first place.
    """

    def __init__(self, folder: Path, array: Any, label: str) -> None:
        self._folder, self._key, self._label = os.fspath(folder), array.metadata.encode_chunk_key, label
        self._shape: tuple[int, ...] = array.shape
        self._chunks: tuple[int, ...] = getattr(array, "shards", None) or array.chunks
        grid = [-(-n // k) for n, k in zip(self._shape, self._chunks, strict=True)]
        if math.prod(grid) > MOST_CHUNKS:  # a shape that damage made would take all memory before a row is read
            chunks = f"{math.prod(grid):,} chunks of {format_shape(self._chunks)}"
            raise FileFormatError(
                f"{label} has shape {self._shape} in {chunks}; at most {MOST_CHUNKS:,} are watched for changes. "
                "If the shape is right, write it again in larger chunks."
            )
        self._written = np.fromiter(map(self._when_written, product(*map(range, grid))), np.int64).reshape(grid)
        self.notes: tuple[str, ...] = ()
        absent = int(np.count_nonzero(self._written == ABSENT))
        if absent:
            what = f"{absent:,} of {self._written.size:,} chunks ({format_shape(self._chunks)})"
            self.notes = (f"{label}: {what} are not stored and read as the fill value {array.fill_value}.",)

    def check_all(self) -> None:
        """Raise `DataError` when a chunk has vanished or was written to."""
        self.check(0, 0, self._shape[0])

    def check(self, axis: int, first: int, last: int) -> None:
        """Raise `DataError` when a chunk of that part of an axis has vanished or was written to."""
        steps = [range(n) for n in self._written.shape]
        steps[axis] = range(first // self._chunks[axis], -(-last // self._chunks[axis]))
        for place in product(*steps):
            now = self._when_written(place)
            if now != self._written[place]:
                row = max(first, place[axis] * self._chunks[axis])
                where = f"the chunk {self._key(place)} with row {row} (counted from 0)"
                what = "vanished" if now == ABSENT else "was written to"
                raise DataError(f"{self._label}: {where} {what} while it was used.")

    def _when_written(self, place: tuple[int, ...]) -> int:
        """Return when a chunk was written, in nanoseconds."""
        try:
            return os.stat(os.path.join(self._folder, self._key(place))).st_mtime_ns  # noqa: PTH116, PTH118
        except OSError:
            return ABSENT
