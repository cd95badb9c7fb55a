"""Rows of plain numbers in a file, read with pread: no memory map, so that a file that is truncated is an error.

A memory map of a file that another process truncates ends this process with SIGBUS.  ``pread`` returns fewer bytes
instead.  It also costs no page faults: rows go from the system's page cache into a buffer that stays in cache.
"""

from __future__ import annotations

import os
import threading
import weakref
from io import FileIO
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae.engine.readahead import Readahead
from sparsae.engine.row_file import RowFile
from sparsae.errors import DataError, FileAccessError, FileMissingError
from sparsae.files.opening import duplicate, open_unbuffered

BFLOAT16 = "bfloat16"
_SEEK = threading.Lock()


def open_binary(path: Path) -> FileIO:
    """Open a file for reading; the open never waits.

    Raises
    ------
    FileMissingError, FileAccessError
    """
    try:
        return open_unbuffered(path, "r", os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise FileMissingError(f"{path} does not exist.") from error
    except OSError as error:
        raise FileAccessError(f"{path} cannot be read: {error.strerror}.") from error


@final
class BinaryFile(RowFile):
    """A matrix of plain numbers that lies in one piece in a file: .npy, safetensors, torch, unchunked HDF5.

    Parameters
    ----------
    path : Path
    file : io.FileIO
        The open file; it is closed with the object.
    shape : tuple of int
    dtype : numpy.dtype
        Of the numbers in the file; rows have the byte order of this machine.
    offset : int
        Bytes before the first number.
    fortran : bool
        Whether the first axis varies fastest.
    bfloat16 : bool
        Whether the numbers, given as uint16, are bfloat16; float32 rows are made of them.
    label : str, optional
        How messages call the file; its path when left out.
    """

    def __init__(
        self,
        path: Path,
        file: FileIO,
        *,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        offset: int,
        fortran: bool = False,
        bfloat16: bool = False,
        label: str = "",
    ) -> None:
        weakref.finalize(self, file.close)
        self.path, self.label = path, label or str(path)
        self.shape = shape
        self.dtype = np.dtype(np.float32) if bfloat16 else dtype.newbyteorder("=")
        self.stored_as = BFLOAT16 if bfloat16 else ""
        self._fd, self._stored, self._offset, self._fortran = file.fileno(), dtype, offset, fortran
        self._layout = {"shape": shape, "dtype": dtype, "offset": offset, "fortran": fortran, "bfloat16": bfloat16}
        self._was = self._state()
        self._row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        self._readahead = Readahead(self._fd)

    @property
    def opens_elsewhere(self) -> bool:
        """Whether it can be pickled: always, as its path."""
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the path: another process, or another machine with the same files, opens it for itself."""
        return _open_again, (str(self.path.absolute()), self.label, self._layout)

    def read_into(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Read rows `start` to `stop` into a C-contiguous array of this dtype and of their shape.

        Raises
        ------
        DataError
            When the file ends before, with the first row that is not whole, or cannot be read.
        """
        if self.stored_as:
            bits = np.empty(out.shape, self._stored)
            self._read_stored(start, stop, bits)
            widen_bfloat16(bits, out)
        else:
            self._read_stored(start, stop, out.view(self._stored))
            if not self._stored.isnative:
                out.byteswap(inplace=True)

    def _read_stored(self, start: int, stop: int, out: NDArray[Any]) -> None:
        if not self._fortran:
            self._read_bytes(out.reshape(-1).view(np.uint8), self._offset + start * self._row_bytes)
            return
        column = np.empty(stop - start, self._stored)
        for j in range(self.shape[1]):
            self._read_bytes(column.view(np.uint8), self._offset + (j * self.shape[0] + start) * column.itemsize)
            out[:, j] = column

    def check_unchanged(self) -> None:
        """Raise `DataError` when the file was written to; one that has become shorter is named when it is read."""
        now = self._state()
        if now != self._was and now[0] >= self._was[0]:
            raise DataError(f"{self.label} was written to while it was used.")

    def _state(self) -> tuple[int, int]:
        """Return size and time of the last change."""
        facts = os.fstat(self._fd)
        return facts.st_size, facts.st_mtime_ns

    def will_need(self, start: int, stop: int) -> None:
        """Tell the readahead thread that these rows are read next."""
        if not self._fortran:
            self._readahead.ask(self._offset + start * self._row_bytes, self._offset + stop * self._row_bytes)

    def transposed(self) -> BinaryFile:
        """Return the same matrix with rows and columns exchanged; the numbers stay where they are."""
        return BinaryFile(
            self.path,
            duplicate(self._fd, "r"),
            shape=self.shape[::-1],
            dtype=self._stored,
            offset=self._offset,
            fortran=not self._fortran,
            bfloat16=bool(self.stored_as),
            label=self.label,
        )

    def _read_bytes(self, out: NDArray[np.uint8], offset: int) -> None:
        done = 0
        while done < len(out):
            try:
                got = _pread_into(self._fd, out[done:], offset + done)
            except OSError as error:
                raise DataError(f"{self.label} cannot be read: {error.strerror or error}.") from error
            if got == 0:
                raise self._truncated(offset + done)
            done += got

    def _truncated(self, end: int) -> DataError:
        row = 0 if self._fortran else max(0, end - self._offset) // self._row_bytes
        held = "" if self._fortran else f"row {row} (counted from 0) is not whole any more; "
        return DataError(
            f"{self.label} was truncated while it was read: {held}its header promises {plural(self.shape[0], 'row')}."
        )


def widen_bfloat16(bits: NDArray[np.uint16], out: NDArray[np.float32]) -> None:
    """Write the float32 values of bfloat16 bits: the upper half of each number."""
    wide = out.view(np.uint32)
    np.left_shift(bits, 16, out=wide, dtype=np.uint32)


def _pread_into(fd: int, out: NDArray[np.uint8], offset: int) -> int:
    """Read at an offset into an array; return the number of bytes read."""
    if hasattr(os, "preadv"):
        return os.preadv(fd, [out.data], offset)
    with _SEEK:  # Windows
        os.lseek(fd, offset, os.SEEK_SET)
        chunk = np.frombuffer(os.read(fd, len(out)), np.uint8)
    out[: len(chunk)] = chunk
    return len(chunk)


def _open_again(path: str, label: str, layout: dict[str, Any]) -> BinaryFile:
    """Open a file whose layout is known; when it has become shorter, reading it says so."""
    return BinaryFile(Path(path), open_binary(Path(path)), label=label, **layout)
