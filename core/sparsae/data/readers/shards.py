"""Several files as one data set: a folder, or a pattern such as ``parts/*.parquet``.

Files follow each other in natural order: part-2 before part-10.  All must have as many columns as the first, and of the
same names in the same order.  A file is opened when its rows are read; a few stay open.
"""

from __future__ import annotations

import glob
import os
import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae.data.readers.entries import LoadedArray
from sparsae.data.readers.source_file import path_label, shorten
from sparsae.data.readers.zarr_store import is_zarr
from sparsae.engine.file_state import NamedFile
from sparsae.engine.row_file import RowFile
from sparsae.errors import DataError, FileFormatError, FileMissingError, SparsaeError

WILDCARDS = re.compile(r"[*?[]")
OPEN_FILES = 8  # at least; two for each thread that reads
MAX_FILES = 1_000_000
Open = Callable[[Path], RowFile]


def is_pattern(text: str) -> bool:
    """Whether a name has wildcards."""
    return WILDCARDS.search(text) is not None


def find_shards(pattern: str) -> list[Path]:
    """Return the files that a pattern matches, in natural order; ``**`` matches folders too.

    Raises
    ------
    FileMissingError
        When there are none.
    """
    found = [Path(name) for name in glob.iglob(pattern, recursive=True)]  # noqa: PTH207 (Path.glob wants a base)
    files = [path for path in found if path.is_file() or is_zarr(path)]
    if not files:
        raise FileMissingError(f"There is no file {path_label(pattern)}. As a pattern, it matches none.")
    return sorted(files, key=lambda path: natural_key(os.fspath(path)))


def find_folder_shards(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the data files of a folder, in natural order.

    Raises
    ------
    FileFormatError
        When there are none, or files of several kinds.
    """
    files = [path for path in folder.iterdir() if path.is_file() and not _is_hidden(path)]
    kinds = sorted({path.suffix.lower() for path in files} & set(suffixes))
    label = path_label(folder)
    arrays = sorted(path.name for path in folder.iterdir() if is_zarr(path))
    if not kinds and arrays:
        raise FileFormatError(
            f"{label} is a folder of Zarr arrays: {shorten(', '.join(arrays), 200)}. Give one of them, such as "
            f"{label}/{shorten(arrays[0])}, or '{label}/*' for all."
        )
    if not kinds:
        raise FileFormatError(
            f"{label} is a folder without files of numbers ({', '.join(suffixes)}). For files of another kind, or in "
            f"folders of their own, give a pattern: '{label}/**/*.parquet'. For pictures in it use patches:{label}."
        )
    if len(kinds) > 1:
        raise FileFormatError(
            f"{label} has files of several kinds ({', '.join(kinds)}); choose with a pattern: '{label}/*{kinds[0]}'."
        )
    chosen = [path for path in files if path.suffix.lower() == kinds[0]]
    return sorted(chosen, key=lambda path: natural_key(path.name))


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers in names by their value: part-2 before part-10."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts if part]


def _is_hidden(path: Path) -> bool:
    """Whether programs leave such files beside data: ``.part.crc``, ``_SUCCESS``."""
    return path.name.startswith((".", "_"))


@dataclass(frozen=True)
class _Shard:
    """One file, and what it was when it was looked at."""

    path: Path
    state: NamedFile
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    piece_rows: int


def open_shards(label: str, paths: Sequence[Path], open_file: Callable[[Path], LoadedArray]) -> LoadedArray:
    """Return the rows of several files, one after another.

    Parameters
    ----------
    label : str
    paths : sequence of Path
    open_file : callable
        Returns the rows of one file, which stay in it.

    Raises
    ------
    DataError
        When a file has other columns than the first one; names it.
    """
    if len(paths) > MAX_FILES:
        raise DataError(f"{label} has {len(paths):,} files; at most {MAX_FILES:,} are read.")
    shards, missing, first, stored = [], [], None, set()
    row = 0
    for path in paths:
        state = NamedFile(path, f"{label}: {shorten(path.name)}, whose first row is row {row} (counted from 0),")
        loaded = open_file(path)
        first = first or loaded
        _check_columns(path, paths[0], loaded, first)
        shards.append(_Shard(path, state, loaded.values.shape, loaded.values.dtype, loaded.values.piece_rows))
        stored.add(loaded.values.stored_as or str(loaded.values.dtype))
        missing.append(loaded.missing)
        row += loaded.values.shape[0]
    assert first is not None  # there is a file at least
    rows = ShardedRows(label, shards, lambda path: _rows(open_file(path)), first.names, stored)
    known = [counts for counts in missing if counts is not None]
    total = tuple(int(n) for n in np.sum(known, axis=0)) if len(known) == len(shards) else None
    note = (
        f"{label}: {plural(len(shards), 'file')} in natural order, {paths[0].name} to {paths[-1].name}, "
        f"{plural(rows.shape[0], 'row')}."
    )
    return replace(first, values=rows, missing=total, notes=(*first.notes, note))


def _rows(loaded: LoadedArray) -> RowFile:
    values: RowFile = loaded.values
    return values


def _check_columns(path: Path, first_path: Path, loaded: LoadedArray, first: LoadedArray) -> None:
    """Raise `DataError` unless a file has the columns of the first one."""
    label, width, wanted = path_label(path), loaded.values.shape[1], first.values.shape[1]
    if width != wanted:
        raise DataError(
            f"{label} has {plural(width, 'column')} and {shorten(first_path.name)} has {wanted:,}; "
            f"files of one data set must have the same columns."
        )
    if loaded.names != first.names and loaded.names and first.names:
        where = next(i for i, (a, b) in enumerate(zip(loaded.names, first.names, strict=True)) if a != b)
        raise DataError(
            f"{label} has column {where + 1} named {shorten(loaded.names[where], 40)!r} where "
            f"{shorten(first_path.name)} has {shorten(first.names[where], 40)!r}; files of one data set must have the "
            f"same columns in the same order. Name them with --columns (columns= in Python)."
        )


@final
class ShardedRows(RowFile):
    """The rows of several files, one after another."""

    def __init__(
        self, label: str, shards: Sequence[_Shard], open_file: Open, names: tuple[str, ...] | None, stored: set[str]
    ) -> None:
        self.label, self.columns, self._shards = label, names, shards
        self.dtype = np.result_type(*(shard.dtype for shard in shards))
        self.stored_as = stored.pop() if stored == {"bfloat16"} else ""
        self._starts = [0, *accumulate(shard.shape[0] for shard in shards)]
        self.shape = (self._starts[-1], shards[0].shape[1])
        self._open_file = open_file
        self._renew()
        self.in_order = self._file(0).in_order
        self.piece_rows = max(shard.piece_rows for shard in shards)

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._opened: OrderedDict[int, RowFile] = OrderedDict()
        self._readers: set[int] = set()

    def read_into(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Read from each file what it has of these rows."""
        while start < stop:
            index = bisect_right(self._starts, start) - 1
            first = self._starts[index]
            last = min(stop, self._starts[index + 1])
            rows, part = self._file(index), out[: last - start]
            if rows.dtype == self.dtype:
                rows.read_into(start - first, last - first, part)
            else:
                np.copyto(part, rows[start - first : last - first], casting="unsafe")
            out = out[last - start :]
            start = last

    def will_need(self, start: int, stop: int) -> None:
        """Pass the hint on to the file of the first row."""
        index = bisect_right(self._starts, start) - 1
        first = self._starts[index]
        self._file(index).will_need(start - first, min(stop, self._starts[index + 1]) - first)

    def check_unchanged(self) -> None:
        """Raise `DataError` when one of the files has vanished or changed; names it."""
        for shard in self._shards:
            shard.state.check()

    def _file(self, index: int) -> RowFile:
        """Return the rows of one file, opened now where it is not open."""
        if self._pid != os.getpid():  # another thread of the parent may have held the lock
            self._renew()
        with self._lock:
            self._readers.add(threading.get_ident())
            rows = self._opened.get(index)
            if rows is None:
                rows = self._opened[index] = self._reopen(index)
                if len(self._opened) > max(OPEN_FILES, 2 * len(self._readers)):
                    self._opened.popitem(last=False)
            else:
                self._opened.move_to_end(index)
            return rows

    def _reopen(self, index: int) -> RowFile:
        shard, row = self._shards[index], self._starts[index]
        try:
            rows = self._open_file(shard.path)
        except SparsaeError as error:
            raise DataError(
                f"{self.label}: {shorten(shard.path.name)}, whose first row is row {row} (counted from 0), cannot be "
                f"read any more: {error}"
            ) from error
        if (rows.shape, rows.dtype) != (shard.shape, shard.dtype):
            raise DataError(
                f"{self.label}: {shorten(shard.path.name)}, whose first row is row {row} (counted from 0), was "
                f"replaced while it was used: it had {plural(shard.shape[0], 'row')} and has {rows.shape[0]:,}."
            )
        return rows
