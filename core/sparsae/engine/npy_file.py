"""Rows of a ``.npy`` file, read with pread: no memory map, so that a file that is truncated meanwhile is an error.

A memory map of a file that another process truncates ends this process with SIGBUS.  ``pread`` returns fewer bytes
instead.  It also costs no page faults: rows go from the system's page cache into a buffer that stays in cache.
"""

from __future__ import annotations

import os
import stat
import threading
import weakref
from collections import deque
from pathlib import Path
from queue import SimpleQueue
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae.engine.memmap import reads_from_disk
from sparsae.errors import DataError, FileAccessError, FileFormatError, FileMissingError

WINDOW_BYTES = 1 << 24  # the readahead thread asks the system for this much at a time
RECENT = 32  # windows that are not requested again: several workers read at several places
HEADER_LIMIT = 1 << 16
_SEEK = threading.Lock()


@final
class NpyFile:
    """Matrix in a ``.npy`` file: ``rows = NpyFile("x.npy"); rows.shape, rows.dtype, rows[100:200]``.

    `Objective`, `train` and `DataSource` take it like an array; it is loaded where it fits the memory share, and read
    block by block otherwise.  Slices and arrays of row numbers give new arrays; `read_into` reads into a buffer.

    Parameters
    ----------
    path : path

    Attributes
    ----------
    path : Path
    shape : tuple of int
    dtype : numpy.dtype

    Raises
    ------
    FileMissingError, FileAccessError
        When the file cannot be opened.
    FileFormatError
        When it is not a whole ``.npy`` file of plain numbers.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError as error:
            raise FileMissingError(f"{self.path} does not exist.") from error
        except OSError as error:
            raise FileAccessError(f"{self.path} cannot be read: {error.strerror}.") from error
        self._close = weakref.finalize(self, os.close, self._fd)
        try:
            self.shape, self._fortran, self.dtype, self._offset = _read_header(self.path, self._fd)
        except BaseException:
            self.close()
            raise
        self._row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        self._readahead = Readahead(self._fd)

    def __len__(self) -> int:
        return self.shape[0]

    def close(self) -> None:
        """Close the file; it is also closed when the object is dropped."""
        self._close()

    def read_into(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Read rows `start` to `stop` into a C-contiguous array of this dtype and of their shape.

        Raises
        ------
        DataError
            When the file ends before, with the first row that is not whole, or cannot be read.
        """
        if not self._fortran:
            self._read_bytes(out.reshape(-1).view(np.uint8), self._offset + start * self._row_bytes)
            return
        column = np.empty(stop - start, self.dtype)
        for j in range(self.shape[1]):
            self._read_bytes(column.view(np.uint8), self._offset + (j * self.shape[0] + start) * column.itemsize)
            out[:, j] = column

    def will_need(self, start: int, stop: int) -> None:
        """Tell the readahead thread that these rows are read next."""
        if not self._fortran:
            self._readahead.ask(self._offset + start * self._row_bytes, self._offset + stop * self._row_bytes)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            if step == 1:
                out = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
                self.read_into(start, max(start, stop), out)
                return out
            rows = range(start, stop, step)
        numbers = np.asarray(rows)
        if numbers.dtype == bool:
            numbers = np.flatnonzero(numbers)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise IndexError("NpyFile takes a slice of rows or a vector of row numbers.")
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1  # runs of consecutive rows are read at once
        for run in np.split(np.arange(len(numbers)), breaks) if len(numbers) else ():
            first, count = int(numbers[run[0]]), len(run)
            if not 0 <= first <= first + count <= self.shape[0]:
                raise IndexError(f"row {first} is not one of {plural(self.shape[0], 'row')}")
            self.read_into(first, first + count, out[run[0] : run[0] + count])
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def _read_bytes(self, out: NDArray[np.uint8], offset: int) -> None:
        done = 0
        while done < len(out):
            try:
                got = _pread_into(self._fd, out[done:], offset + done)
            except OSError as error:
                raise DataError(f"{self.path} cannot be read: {error.strerror or error}.") from error
            if got == 0:
                raise self._truncated(offset + done)
            done += got

    def _truncated(self, end: int) -> DataError:
        row = 0 if self._fortran else max(0, end - self._offset) // self._row_bytes
        held = "" if self._fortran else f"row {row} (counted from 0) is not whole any more; "
        return DataError(
            f"{self.path} was truncated while it was read: {held}its header promises {plural(self.shape[0], 'row')}."
        )


def _pread_into(fd: int, out: NDArray[np.uint8], offset: int) -> int:
    """Read at an offset into an array; return the number of bytes read."""
    if hasattr(os, "preadv"):
        return os.preadv(fd, [out.data], offset)
    with _SEEK:  # Windows
        os.lseek(fd, offset, os.SEEK_SET)
        chunk = np.frombuffer(os.read(fd, len(out)), np.uint8)
    out[: len(chunk)] = chunk
    return len(chunk)


def _read_header(path: Path, fd: int) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, order, dtype and where the values begin; check that all of them are there."""
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        raise FileFormatError(f"{path} is not a regular file; write the array to one with numpy.save.")
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file, max_header_size=HEADER_LIMIT)
            offset = file.tell()
        except Exception as error:  # tokenizer, overflow and type errors of a damaged header among them
            raise FileFormatError(f"{path} is not a .npy file, or its header is damaged.") from error
    if dtype.hasobject or dtype.kind not in "fiub" or dtype.itemsize == 0:
        raise FileFormatError(f"{path} holds values of dtype {dtype}; expected real numbers.")
    if len(shape) == 0 or any(length < 0 for length in shape):
        raise FileFormatError(f"{path} has shape {shape}; expected a matrix (n_samples, n_visible).")
    size = dtype.itemsize
    for length in shape:  # Python's integers do not overflow
        size *= int(length)
    if facts.st_size < offset + size:
        raise FileFormatError(
            f"{path} is truncated: its header promises {offset + size:,} bytes and it has {facts.st_size:,}."
        )
    return tuple(int(length) for length in shape), bool(fortran) and len(shape) > 1, dtype, offset


@final
class Readahead:
    """A daemon thread that tells the system which part of a file is needed next, so that reads find it in memory.

    Asking may wait for the disk's queue, which is why the readers do not ask themselves.  The thread starts with the
    first request.  A window is requested when a reader enters the one before it, unless nothing was read from the disk
    since the last request: asking for what is in memory already takes 0.3 ms.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._requests: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._recent: deque[int] = deque(maxlen=RECENT)
        self._seen: tuple[int, int] | None = None
        self._pid = 0
        self._end = weakref.finalize(self, SimpleQueue.put, self._requests, None)
        self._supported = hasattr(os, "posix_fadvise")

    def ask(self, start: int, stop: int) -> None:
        """Request the window after the bytes from `start` to `stop`, once for each window entered."""
        window = stop // WINDOW_BYTES
        if not self._supported or window in self._recent:
            return
        self._recent.append(window)
        if (seen := reads_from_disk()) == self._seen:
            return
        self._seen = seen
        if self._pid != os.getpid():  # at first, and in the child after a fork
            self._pid = os.getpid()
            self._requests = SimpleQueue()
            self._end.detach()
            self._end = weakref.finalize(self, SimpleQueue.put, self._requests, None)
            threading.Thread(
                target=_advise, args=(self._fd, self._requests), name="sparsae-readahead", daemon=True
            ).start()
        self._requests.put(((window + 1) * WINDOW_BYTES, WINDOW_BYTES))


def _advise(fd: int, requests: SimpleQueue[tuple[int, int] | None]) -> None:
    """Pass requests on to the system until None comes."""
    while (request := requests.get()) is not None:
        try:
            os.posix_fadvise(fd, *request, os.POSIX_FADV_WILLNEED)
        except OSError:  # closed meanwhile, or a file system that takes no advice
            return
