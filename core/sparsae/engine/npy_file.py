"""A ``.npy`` file as a `BinaryFile`: its header is read and checked, its numbers stay in the file."""

from __future__ import annotations

import os
import stat
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

import numpy as np

from sparsae.engine.binary_file import BinaryFile, open_binary
from sparsae.errors import FileFormatError
from sparsae.files.opening import duplicate

HEADER_LIMIT = 1 << 16


def open_npy(path: str | os.PathLike[str]) -> BinaryFile:
    """Open a ``.npy`` file as rows that are read when they are needed.

    Raises
    ------
    FileMissingError, FileAccessError
        When the file cannot be opened.
    FileFormatError
        When it is not a whole ``.npy`` file of plain numbers.
    """
    path = Path(path)
    file = open_binary(path)
    try:
        shape, fortran, dtype, offset = _read_header(path, file)
    except BaseException:
        file.close()
        raise
    return BinaryFile(path, file, shape=shape, dtype=dtype, offset=offset, fortran=fortran)


def _read_header(path: Path, opened: FileIO) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, order, dtype and where the values begin; check that all of them are there."""
    facts = os.fstat(opened.fileno())
    if not stat.S_ISREG(facts.st_mode):
        raise FileFormatError(f"{path} is not a regular file; write the array to one with numpy.save.")
    with BufferedReader(duplicate(opened.fileno(), "r")) as file:
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
