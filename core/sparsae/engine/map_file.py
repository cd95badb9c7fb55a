"""The file behind a memory map, as rows that another process can open for itself."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

from sparsae.engine.binary_file import BinaryFile, open_binary
from sparsae.errors import SparsaeError


def file_of_map(data: Any) -> BinaryFile | None:
    """Return the rows of a memory map as those of its file; None where the file does not hold them in one piece.

    Changes that were made through the map are written to the file first; those of a copy-on-write map are not in it.

    Parameters
    ----------
    data : numpy.memmap
        The whole map or a slice of it.
    """
    whole = data.flags.c_contiguous or data.flags.f_contiguous
    if data.ndim != 2 or data.size == 0 or not whole or data.filename is None or data.mode == "c":
        return None
    path = Path(data.filename)
    try:
        file = open_binary(path)
    except SparsaeError:
        return None
    if data.mode != "r":
        data.flush()
    offset = _offset(data)
    if os.fstat(file.fileno()).st_size < offset + data.nbytes:
        file.close()
        return None
    fortran = not data.flags.c_contiguous
    return BinaryFile(path, file, shape=data.shape, dtype=data.dtype, offset=offset, fortran=fortran)


def _offset(data: Any) -> int:
    """Return where in the file the values begin; a slice of a map has the attribute `offset` of the whole."""
    base = data
    while isinstance(base.base, np.memmap):
        base = base.base
    mapped = np.frombuffer(data._mmap, dtype=np.uint8).ctypes.data
    return int(base.offset) // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY + int(data.ctypes.data) - mapped
