"""A temporary copy of rows that have to be decoded: a fit decodes them once and reads plain numbers afterwards.

A full-batch fit reads all rows in each evaluation, and mini-batches read them at random.  Decoding a Parquet file of
float32 columns takes three times as long as an evaluation with 25 hidden units; plain numbers come from the system's
page cache, which is not memory of this process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae.engine.binary_file import BinaryFile
from sparsae.errors import DataError, DataWarning
from sparsae.files.opening import duplicate, temporary_file
from sparsae.machine.caller_warning import warn_caller
from sparsae.machine.resources import gibibytes

ON_DISK = "/var/tmp"  # noqa: S108  where the usual folder lies in memory, as on many systems, this one does not
FREE_SHARE = 0.9  # of the free space that a copy may take
MOUNTS = Path("/proc/self/mounts")
SET_TMPDIR = "Set TMPDIR to a folder with space, or save the data as .npy"


def copy_rows(
    label: str, shape: tuple[int, ...], dtype: np.dtype[Any], pieces: Iterable[NDArray[Any]], *, required: bool
) -> BinaryFile | None:
    """Copy rows to a file without a name in the folder for temporary files; warn that it is done.

    The space is given back when the result is dropped or the process ends, however it ends.

    Parameters
    ----------
    label : str
        How messages call the rows.
    shape : (int, int)
    dtype : numpy.dtype
    pieces : iterable of ndarray
        All rows in order.
    required : bool
        Whether nothing can be done without a copy: then a lack of space is an error.

    Returns
    -------
    BinaryFile or None
        None where there is no space, which a warning says, and the copy is not required.

    Raises
    ------
    DataError
        When the rows cannot be read, or a copy is required and the space does not suffice.
    """
    folder = copy_folder()
    n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    reason = _lack(folder, n_bytes, required=required)
    if not reason:
        warn_caller(
            DataWarning(
                f"{label} can only be read in order and does not fit into memory; the fit reads a temporary copy of "
                f"{gibibytes(n_bytes)} in {folder}."
            )
        )
        try:
            return _copy(label, shape, dtype, pieces, folder)
        except OSError as error:
            reason = f"it cannot be copied to {folder}: {error.strerror or error}"
    if required:
        raise DataError(
            f"{label} can only be read in order, and {reason}. {SET_TMPDIR}, or use the method lbfgs, which reads in "
            f"order."
        )
    warn_caller(DataWarning(f"{label} is decoded anew in each evaluation, since {reason}. {SET_TMPDIR}."))
    return None


def _lack(folder: str, n_bytes: int, *, required: bool) -> str:
    """Return why a copy cannot lie in that folder, or "" where it can."""
    free = int(FREE_SHARE * shutil.disk_usage(folder).free)
    if free < n_bytes:
        return f"a copy needs {gibibytes(n_bytes)} in {folder}, where it may take {gibibytes(free)}"
    if not required and lies_in_memory(folder):
        return f"the folder for temporary files, {folder}, lies in memory"
    return ""


def _copy(
    label: str, shape: tuple[int, ...], dtype: np.dtype[Any], pieces: Iterable[NDArray[Any]], folder: str
) -> BinaryFile:
    with temporary_file(folder) as file:
        for rows in pieces:
            file.write(np.ascontiguousarray(rows).data)
        file.flush()
        kept = duplicate(file.fileno(), "r")
    return BinaryFile(Path(folder), kept, shape=shape, dtype=dtype, offset=0, label=f"the temporary copy of {label}")


def copy_folder() -> str:
    """Return the folder for temporary files; where that lies in memory and nobody has chosen it, one on the disk."""
    folder = tempfile.gettempdir()
    chosen = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    if not chosen and lies_in_memory(folder) and os.access(ON_DISK, os.W_OK) and not lies_in_memory(ON_DISK):
        return ON_DISK
    return folder


def lies_in_memory(folder: str) -> bool:
    """Whether files in a folder are kept in memory; False where the system does not say."""
    place, best, kind = os.path.realpath(folder), "", ""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    for line in mounts:
        point, found = line.replace("\\040", "\0").split(" ")[1:3]
        point = point.replace("\0", " ")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount hides an earlier one
            best, kind = point, found
    return kind in ("tmpfs", "ramfs")
