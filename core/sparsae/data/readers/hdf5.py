"""HDF5: plain files, and Matlab 7.3, which stores the axes of its arrays in reversed order.

What is small is read in a child process, since a damaged file can crash the library.  What is large is listed there,
and its rows are read in this process when they are needed.
"""

from __future__ import annotations

import math
from functools import partial

from sparsae.data.readers.entries import ArrayEntry, LoadedArray, ReadRequest, choose_entry
from sparsae.data.readers.extra import require
from sparsae.data.readers.hdf5_rows import open_hdf5_rows
from sparsae.data.readers.limits import check_memory, memory_share
from sparsae.data.readers.parser_process import read_list, read_variable, reading_process
from sparsae.data.readers.source_file import SourceFile, damage_refused, shorten
from sparsae.errors import FileFormatError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
USER_BLOCK = 512  # bytes that a program may keep for itself before the signature
NUMERIC_CLASSES = {
    *("double", "single", "logical", "sparse"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
OLDER = "save(..., '-v7') in Matlab writes one that needs no library"
NUMERIC_DTYPES = {"bool", *(f"float{bits}" for bits in (16, 32, 64))} | NUMERIC_CLASSES


def is_hdf5(head: bytes) -> bool:
    """Whether these first bytes are those of an HDF5 file."""
    return head.startswith(SIGNATURE) or head[USER_BLOCK : USER_BLOCK + len(SIGNATURE)] == SIGNATURE


def is_mat73(head: bytes) -> bool:
    """Whether these first bytes are those of a file of Matlab 7.3."""
    return head.startswith(b"MATLAB 7.3") and is_hdf5(head)


def read_hdf5(file: SourceFile, request: ReadRequest) -> LoadedArray:
    """Read the named data set, or the only one that fits; the rows of a large one stay in the file."""
    kind = ".mat file" if is_mat73(file.head) else "HDF5 file"
    if file.compressed:
        raise FileFormatError(f"{file.label} is HDF5 inside {file.compression}; decompress it first.")
    require("h5py", file.label, f"a Matlab 7.3 file ({OLDER})" if is_mat73(file.head) else "an HDF5 file")
    with reading_process(file, "hdf5") as process, damage_refused(file.label, kind):
        entries = [
            ArrayEntry(
                name,
                tuple(shape),
                kind,
                kind in (NUMERIC_CLASSES if is_mat73(file.head) else NUMERIC_DTYPES),
                partial(read_variable, process, file, name, 8 * math.prod(shape) if kind == "sparse" else 0),
            )
            for name, shape, kind in read_list(process, file)
        ]
        entry = choose_entry(file.label, entries, request)
        label = f"{file.label}:{shorten(entry.name)}"
        large = request.stay or 8 * math.prod(entry.shape) > memory_share()
        if not large or entry.kind == "sparse" or len(entry.shape) != 2 or request.images:
            check_memory(label, 8 * math.prod(entry.shape))
            return LoadedArray(entry.read(), images_last=is_mat73(file.head))
    with damage_refused(label, kind):
        return LoadedArray(open_hdf5_rows(file, entry.name, label, reversed_axes=is_mat73(file.head)))
