"""A temporary copy of rows that can only be read in order, for methods that take rows at random."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from sparsae.engine.binary_file import BinaryFile
from sparsae.engine.row_file import RowFile
from sparsae.errors import DataError, DataWarning
from sparsae.machine.caller_warning import warn_caller
from sparsae.machine.resources import gibibytes

PIECE_BYTES = 1 << 22


def spill(rows: RowFile) -> BinaryFile:
    """Copy the rows to a file without a name in the folder for temporary files; warn that it is done.

    The space is given back when the result is dropped or the process ends, however it ends.

    Raises
    ------
    DataError
        When the space does not suffice, or the rows cannot be read.
    """
    folder = tempfile.gettempdir()
    way_out = "Set TMPDIR to a folder with space, save the data as .npy, or use the method lbfgs, which reads in order."
    free = shutil.disk_usage(folder).free
    if free < rows.n_bytes:
        raise DataError(
            f"{rows.label} can only be read in order. A copy for mini-batches needs {gibibytes(rows.n_bytes)} in "
            f"{folder}, which has {gibibytes(free)}. {way_out}"
        )
    warn_caller(
        DataWarning(
            f"{rows.label} can only be read in order and does not fit into memory; "
            f"mini-batches read a temporary copy of {gibibytes(rows.n_bytes)} in {folder}."
        )
    )
    step = max(1, PIECE_BYTES // max(1, rows.n_bytes // max(1, rows.shape[0])))
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for start in range(0, rows.shape[0], step):
                file.write(rows[start : start + step].data)
            file.flush()
            fd = os.dup(file.fileno())
    except OSError as error:
        raise DataError(
            f"{rows.label} cannot be copied to {folder} for mini-batches: {error.strerror or error}. {way_out}"
        ) from error
    return BinaryFile(Path(folder), fd, shape=rows.shape, dtype=rows.dtype, offset=0, label=rows.label)
