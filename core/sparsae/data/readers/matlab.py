"""Matlab's .mat, versions 4 to 7, which SciPy parses in a child process; version 7.3 is HDF5."""

from __future__ import annotations

import math
from functools import partial

from sparsae.data.readers.entries import ArrayEntry, LoadedArray, ReadRequest, choose_entry
from sparsae.data.readers.hdf5 import NUMERIC_CLASSES, is_mat73, read_hdf5
from sparsae.data.readers.limits import check_memory
from sparsae.data.readers.parser_process import read_list, read_variable, reading_process
from sparsae.data.readers.source_file import SourceFile, damage_refused, shorten
from sparsae.errors import FileFormatError


def is_mat5(head: bytes) -> bool:
    """Whether these first bytes are those of a file of Matlab 5 to 7."""
    return head[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


def read_mat(file: SourceFile, request: ReadRequest) -> LoadedArray:
    """Read the named variable, or the only one that fits."""
    if file.compressed:
        raise FileFormatError(f"{file.label} is a .mat file inside {file.compression}; decompress it first.")
    if is_mat73(file.head):
        return read_hdf5(file, request)
    with reading_process(file, "mat") as process, damage_refused(file.label, ".mat file"):
        listed = read_list(process, file)
        entries = [
            ArrayEntry(
                name,
                tuple(shape),
                kind,
                kind in NUMERIC_CLASSES,
                # A sparse matrix is larger in memory than in any file: the memory share limits it, not the expansion.
                partial(read_variable, process, file, name, 8 * math.prod(shape) if kind == "sparse" else 0),
            )
            for name, shape, kind in listed
        ]
        entry = choose_entry(file.label, entries, request)
        check_memory(f"{file.label}:{shorten(entry.name)}", 8 * math.prod(entry.shape))
        return LoadedArray(entry.read(), images_last=True)
