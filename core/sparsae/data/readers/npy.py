"""NumPy's .npy: the header is checked against the file and the memory before the array is allocated.

Source: the format's description in ``numpy.lib.format``.
"""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from typing import Any, BinaryIO, final

import numpy as np

from sparsae.data.readers.entries import LoadedArray, ReadRequest
from sparsae.data.readers.limits import check_memory, memory_share
from sparsae.data.readers.source_file import SourceFile, damage_refused, shorten
from sparsae.engine.npy_file import open_npy
from sparsae.errors import DataError, FileFormatError

MAGIC = b"\x93NUMPY"
MAX_HEADER = 10_000  # NumPy's own limit; a longer header belongs to a structured array
NUMERIC_KINDS = "fiub"


@final
@dataclass(frozen=True)
class ArrayHeader:
    """What a .npy file declares.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    fortran : bool
        Whether the first axis varies fastest.
    offset : int
        Bytes before the first number.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def n_bytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: BinaryIO, label: str) -> ArrayHeader:
    """Read and check the header; the stream then stands at the first number.

    Raises
    ------
    FileFormatError
        When it is damaged.
    """
    with damage_refused(label, ".npy file"):
        start = stream.read(8)
        if not start.startswith(MAGIC) or len(start) < 8:
            raise FileFormatError(f"{label} is damaged or not a .npy file: its first bytes are {start!r}.")
        if start[6] not in (1, 2, 3):
            raise FileFormatError(f"{label} has version {start[6]}.{start[7]} of the .npy format; 1 to 3 are known.")
        length = stream.read(2 if start[6] == 1 else 4)
        n_header = int.from_bytes(length, "little")
        if n_header > MAX_HEADER:
            raise FileFormatError(f"{label} declares a header of {n_header} bytes; at most {MAX_HEADER} are read.")
        copy = io.BytesIO(length + stream.read(n_header))
        parse = np.lib.format.read_array_header_1_0 if start[6] == 1 else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers of Python 2 are read too
            try:
                shape, fortran, dtype = parse(copy)
            except MemoryError as error:  # the parser's own stack, not the machine's memory
                raise FileFormatError(
                    f"{label} is damaged or not a .npy file: its header is nested too deep."
                ) from error
        if any(length < 0 for length in shape):
            raise FileFormatError(f"{label} declares the shape {shape}, which has a negative length.")
        shape = tuple(int(length) for length in shape)
        return ArrayHeader(shape, dtype, bool(fortran), 8 + len(length) + n_header)


def check_numeric(header: ArrayHeader, label: str) -> None:
    """Raise `DataError` unless the array holds real numbers."""
    dtype = header.dtype
    if dtype.names is not None:
        raise DataError(
            f"{label} holds a structured array with the fields {shorten(', '.join(dtype.names))}; save a plain "
            f"matrix of floats, for example numpy.lib.recfunctions.structured_to_unstructured(X)."
        )
    if dtype.hasobject:
        raise DataError(f"{label} holds Python objects, not numbers; save it from an array of floats.")
    if dtype.kind not in NUMERIC_KINDS:
        raise DataError(f"{label} holds {dtype} values; real numbers are needed.")


def read_values(stream: BinaryIO, header: ArrayHeader, label: str) -> np.ndarray[Any, Any]:
    """Read the numbers that follow a header, in the byte order of this machine.

    Raises
    ------
    FileFormatError
        When they do not fit into the memory share, when bytes are missing, or when bytes follow them.
    """
    check_memory(label, header.n_bytes)
    with damage_refused(label, ".npy file"):
        flat = np.empty(math.prod(header.shape), header.dtype)
        buffer = flat.view(np.uint8).data
        done = 0
        while done < len(buffer):
            n_read = stream.readinto(buffer[done:])  # type: ignore[attr-defined]  # a raw or buffered reader
            if not n_read:
                raise truncated(label, header, done)
            done += n_read
        if stream.read(1):
            raise FileFormatError(f"{label} has bytes after the array; a .npy file must hold one array.")
        if header.dtype.kind == "b":
            flat = flat.view(np.uint8) != 0  # any other byte would be neither True nor False
        flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
        return flat.reshape(header.shape[::-1]).T if header.fortran else flat.reshape(header.shape)


def truncated(label: str, header: ArrayHeader, n_bytes: int) -> FileFormatError:
    """Return the error for a file with fewer bytes than its header declares."""
    return FileFormatError(
        f"{label} is truncated: shape {header.shape} of {header.dtype} needs {header.n_bytes} bytes, "
        f"the file has {n_bytes}."
    )


def read_npy(file: SourceFile, request: ReadRequest) -> LoadedArray:
    """Read a .npy file; a matrix that is larger than the memory share stays in the file and is read in blocks."""
    with file.open() as stream:
        header = read_header(stream, file.label)
        check_numeric(header, file.label)
        if not file.compressed:
            present = file.size - header.offset
            if present < header.n_bytes:
                raise truncated(file.label, header, present)
            if (request.stay or header.n_bytes > memory_share()) and len(header.shape) == 2:
                return LoadedArray(open_npy(file.path))
        return LoadedArray(read_values(stream, header, file.label))
