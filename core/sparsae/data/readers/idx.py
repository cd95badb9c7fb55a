"""The idx format of MNIST: a header of big-endian sizes, then the numbers.

Source: "THE IDX FILE FORMAT" on the page of the MNIST database.
"""

from __future__ import annotations

import math

import numpy as np

from sparsae.data.readers.entries import LoadedArray, ReadRequest, format_shape
from sparsae.data.readers.npy import ArrayHeader, read_values, truncated
from sparsae.data.readers.source_file import SourceFile
from sparsae.errors import DataError, FileFormatError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_AXES = 4


def is_idx(head: bytes) -> bool:
    """Whether these first bytes are those of an idx file."""
    return len(head) >= 8 and head[:2] == b"\0\0" and head[2] in DTYPES and 1 <= head[3] <= MAX_AXES


def read_idx(file: SourceFile, request: ReadRequest) -> LoadedArray:
    """Read an idx file: one sample for each step along the first axis; two further axes are those of an image."""
    n_axes = file.head[3] if is_idx(file.head) else 0
    offset = 4 + 4 * n_axes
    if not n_axes or len(file.head) < offset:
        raise FileFormatError(f"{file.label} is damaged or not an idx file: its header is not whole.")
    shape = tuple(int(n) for n in np.frombuffer(file.head[4:offset], ">u4"))
    header = ArrayHeader(shape, np.dtype(DTYPES[file.head[2]]), fortran=False, offset=offset)
    if not file.compressed and file.size - offset < header.n_bytes:
        raise truncated(file.label, header, file.size - offset)
    if n_axes == 1:
        raise DataError(
            f"{file.label} holds one number for each of {format_shape(shape)} samples, such as labels; "
            f"give the file with the images."
        )
    with file.open() as stream:
        stream.read(offset)
        values = read_values(stream, header, file.label)
    if request.images:
        return LoadedArray(values)
    image_shape = (shape[1], shape[2]) if n_axes == 3 else None
    return LoadedArray(values.reshape(shape[0], math.prod(shape[1:])), image_shape=image_shape)
