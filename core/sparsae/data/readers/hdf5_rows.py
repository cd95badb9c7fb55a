"""Rows of a data set of an HDF5 file, read when they are needed.

The library returns zeros for chunks beyond the end of a file that was truncated, so its size is looked at.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae.data.readers.array_rows import open_array_rows
from sparsae.data.readers.extra import require
from sparsae.data.readers.source_file import SourceFile
from sparsae.engine.binary_file import BinaryFile, open_binary
from sparsae.engine.file_state import HeldFile
from sparsae.engine.row_file import RowFile
from sparsae.errors import DataError


def open_hdf5_rows(file: SourceFile, name: str, label: str, *, reversed_axes: bool) -> RowFile:
    """Open a matrix of an HDF5 file; one that lies in one piece is read without the library.

    Parameters
    ----------
    file : SourceFile
    name : str
        Path of the data set in the file.
    label : str
    reversed_axes : bool
        Whether rows of the matrix are columns of the data set, as Matlab stores them.

    Raises
    ------
    DataError
        When its numbers are in other files.
    """
    h5py = require("h5py", file.label, "an HDF5 file")
    state = HeldFile(file.path, label)
    data = h5py.File(file.path, "r")[name]
    if data.external or data.is_virtual:
        what = "other files" if data.external else "data sets of other files, and a missing one reads as fill values"
        raise DataError(
            f"{label} keeps its numbers in {what}; give those files, as a pattern such as 'parts/*.h5::NAME'."
        )
    dtype = np.dtype(data.dtype)
    offset = data.id.get_offset() if data.chunks is None else None
    if offset is not None and file.size - offset >= data.size * dtype.itemsize:
        shape = data.shape[::-1] if reversed_axes else data.shape
        return BinaryFile(
            file.path,
            open_binary(file.path),
            shape=shape,
            dtype=dtype,
            offset=offset,
            fortran=reversed_axes,
            label=label,
        )

    descriptor = data.file.id.get_vfd_handle()

    def read(axis: int, first: int, last: int) -> NDArray[Any]:
        rows: NDArray[Any] = data[first:last] if axis == 0 else data[:, first:last].T
        if os.fstat(descriptor).st_size < file.size:  # what is missing reads as zeros
            raise OSError("it is shorter than it was")
        return rows

    return open_array_rows(
        label, read, data.shape, dtype, data.chunks, axis=1 if reversed_axes else 0, check=state.check
    )
