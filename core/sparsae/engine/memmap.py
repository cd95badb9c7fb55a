"""The file behind a memory map: whether it is still whole, and which part of it is needed next.

A memory map of a file that another process truncates ends this process with SIGBUS when it reads past the new end.
The checks here make that unlikely, not impossible; `BinaryFile` reads without a map.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import Any, final

import numpy as np

from sparsae.errors import DataError

try:
    from resource import RUSAGE_SELF, getrusage
except ImportError:  # not on Windows, which takes no advice on maps either
    getrusage = None  # type: ignore[assignment]

AHEAD_BYTES = 1 << 24  # a file is asked for this far ahead; took a fifth off a cold pass over 768 MB
CHECK_SECONDS = 0.001  # a check costs 2 us and the GIL: before each block it took 5 % of two workers' time


@final
class MappedFile:
    """The file of a `numpy.memmap` whose rows are read.

    Neither the map nor the file is changed: the system is only told what will be needed.

    Parameters
    ----------
    data : numpy.memmap (n_samples, n_visible)
        The whole map or a slice of it; its file has a name.
    name : str
        How messages call the data.
    """

    def __init__(self, data: Any, name: str) -> None:
        base = data
        while isinstance(base.base, np.memmap):
            base = base.base
        self._name = name
        self._path = os.fspath(data.filename)
        self._bytes = int(base.offset) + int(base.nbytes)
        self._due = 0.0
        self._map: Any = data._mmap
        self._stride = data.strides[0]
        ordered = data.flags.c_contiguous and self._stride > 0
        advised = ordered and hasattr(mmap, "MADV_WILLNEED") and getrusage is not None
        self._rows = max(1, AHEAD_BYTES // self._stride) if advised else 0  # of a window; 0: give no advice
        self._offset = data.ctypes.data - np.frombuffer(self._map, dtype=np.uint8).ctypes.data
        self._seen: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise an error for a file that has vanished or become shorter: reading it would end the process.

        Raises
        ------
        DataError
        """
        self._due = time.monotonic() + CHECK_SECONDS
        try:
            size = os.stat(self._path).st_size  # noqa: PTH116  a Path costs as much again
        except OSError as error:
            raise DataError(
                f"{self._name}: the file {self._path} vanished while it was used ({error.strerror})."
            ) from error
        if size < self._bytes:
            raise DataError(
                f"{self._name}: the file {self._path} shrank from {self._bytes} to {size} bytes while it was used."
            )

    def before_read(self, where: slice) -> None:
        """Before these rows are read: check the file again when that is due, and ask for the rows that follow.

        Two windows are asked for when the first is entered, unless nothing was read from the disk since the last one:
        asking for rows that are in memory already costs 0.3 ms.
        """
        if time.monotonic() >= self._due:
            self.check()
        if self._rows and where.start // self._rows != where.stop // self._rows:
            seen = reads_from_disk()
            if seen != self._seen:
                self._seen = seen
                start = (self._offset + where.stop * self._stride) // mmap.PAGESIZE * mmap.PAGESIZE
                length = min(2 * AHEAD_BYTES, len(self._map) - start)
                if length > 0:
                    self._map.madvise(mmap.MADV_WILLNEED, start, length)


def reads_from_disk() -> tuple[int, int]:
    """Count what this process had to wait for or have read: major page faults, and blocks of input."""
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_majflt, usage.ru_inblock
