"""A vector that lies in a file without a name: the best parameters of a large model, which hardly anybody reads.

A fit that diverges, or that holds rows out, returns them.  They are a quarter of the optimiser's state, and are written
at the end of an epoch at most.  In a file they are in the system's page cache, which is not memory of this process: it
gives way to whatever needs memory, to the disk.
"""

from __future__ import annotations

import mmap
import os
import weakref
from contextlib import ExitStack
from typing import BinaryIO, Self, final

import numpy as np

from sparsae.engine.temporary_copy import copy_folder, lies_in_memory
from sparsae.files.opening import temporary_file
from sparsae.optimize.objective_functions import Vector

LEAST_BYTES = 4 << 20  # of the vector; smaller ones stay in memory


@final
class FileVector:
    """A vector in a file.

    Parameters
    ----------
    file : file
        Empty, without a name; closed with the object.
    values : ndarray (size,)
        Written to it.

    Attributes
    ----------
    array : ndarray (size,)
        The vector, read-only, mapped: pages of it become memory of this process when they are read.

    Raises
    ------
    OSError
        When they cannot be written.
    """

    def __init__(self, file: BinaryIO, values: Vector) -> None:
        self._descriptor = file.fileno()
        self._close = weakref.finalize(self, file.close)
        self._write(values)
        self._mapped = mmap.mmap(self._descriptor, values.nbytes, access=mmap.ACCESS_READ)
        self.array: Vector = np.frombuffer(self._mapped, values.dtype)

    @classmethod
    def of(cls, values: Vector) -> Self | None:
        """Return a copy in a file; None where it would lie in memory all the same, or be small, or cannot be made."""
        if values.nbytes < LEAST_BYTES or not hasattr(os, "pwrite"):
            return None
        try:
            folder = copy_folder()
            if lies_in_memory(folder):
                return None
            with ExitStack() as stack:
                file = stack.enter_context(temporary_file(folder))
                vector = cls(file, values)
                stack.pop_all()
                return vector
        except (OSError, ValueError):  # ValueError: of mmap
            return None

    def store(self, values: Vector) -> None:
        """Write other values; an `OSError` leaves an unknown mixture."""
        self._write(values)
        if hasattr(mmap, "MADV_DONTNEED"):  # of pages that were read, by a checkpoint; they stay in the page cache
            self._mapped.madvise(mmap.MADV_DONTNEED)

    def _write(self, values: Vector) -> None:
        left, place = values.view(np.uint8).data, 0
        while left:
            written = os.pwrite(self._descriptor, left, place)
            left, place = left[written:], place + written
