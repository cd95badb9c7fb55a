"""Readers of data files: each checks what a file declares before it allocates, and refuses damage in one line.

Every reader is a function of a `SourceFile` and a `ReadRequest` that returns a `LoadedArray`.  A new format is one
module with such a function and one row in the table `READERS`.  The content decides which reader is used; the ending of
the name counts only for text and for Matlab 4, which have no signature.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

from sparsae.data.readers.columns import choose_columns
from sparsae.data.readers.entries import LoadedArray, ReadRequest, check_matrix
from sparsae.data.readers.idx import is_idx, read_idx
from sparsae.data.readers.matlab import HDF5_SIGNATURE, is_mat5, is_mat73, read_mat
from sparsae.data.readers.npy import MAGIC, read_npy
from sparsae.data.readers.npz import read_npz
from sparsae.data.readers.source_file import SourceFile, damage_refused, shorten
from sparsae.data.readers.table import read_table
from sparsae.errors import FileFormatError, FileMissingError

Read = Callable[[SourceFile, ReadRequest], LoadedArray]


@final
@dataclass(frozen=True)
class Reader:
    """How one format is recognised and read.

    Attributes
    ----------
    suffixes : tuple of str
        Endings of names; used where no signature decides.
    recognises : callable
        Whether the first bytes of a file are those of this format.
    read : callable
    several : bool
        Whether a file may hold several arrays, of which FILE:NAME picks one.
    """

    suffixes: tuple[str, ...]
    recognises: Callable[[bytes], bool]
    read: Read
    several: bool = False


READERS = (
    Reader((".npy",), lambda head: head.startswith(MAGIC), read_npy),
    Reader((".npz",), lambda head: head.startswith((b"PK\x03\x04", b"PK\x05\x06")), read_npz, several=True),
    Reader((".mat",), lambda head: is_mat5(head) or is_mat73(head), read_mat, several=True),
    Reader((".csv", ".tsv", ".txt"), lambda head: False, read_table),
    Reader((".idx",), is_idx, read_idx),
)
SUFFIXES = tuple(suffix for reader in READERS for suffix in reader.suffixes)
PICTURE = "a picture: use patches:{label}, which cuts patches from it"
FOREIGN = (
    (b"\x89PNG", PICTURE),
    (b"\xff\xd8\xff", PICTURE),
    (b"GIF8", PICTURE),
    (b"II*\0", PICTURE),
    (b"MM\0*", PICTURE),
    (b"PAR1", "a Parquet file: save the table as .npy or .csv"),
    (b"ARROW1", "a Feather file: save the table as .npy or .csv"),
    (HDF5_SIGNATURE, "an HDF5 file: open it with h5py in Python and pass the data set to sparsae.train"),
    (b"\x80\x02", "a pickle, which can run code when it is read: save a plain array with numpy.save"),
    (b"\x80\x03", "a pickle, which can run code when it is read: save a plain array with numpy.save"),
    (b"\x80\x04", "a pickle, which can run code when it is read: save a plain array with numpy.save"),
    (b"\x80\x05", "a pickle, which can run code when it is read: save a plain array with numpy.save"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of an office program: export it as CSV"),
    (b"%PDF", "a PDF document: export the numbers as CSV"),
    (b"SQLite format 3", "an SQLite database: export the table as CSV"),
    (b"BZh", "compressed with bzip2: decompress it first, or use gzip"),
    (b"\xfd7zXZ", "compressed with xz: decompress it first, or use gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: decompress it first, or use gzip"),
)


def read_file(source: str | os.PathLike[str], request: ReadRequest) -> tuple[SourceFile, LoadedArray]:
    """Read the array that a file holds; "FILE:NAME" picks one of several.

    Raises
    ------
    FileMissingError, FileAccessError
        When there is no such file, it may not be read, or it is a pipe or a device.
    FileFormatError
        When it is of an unknown kind, damaged, not what its name says, or too large.
    DataError
        When it holds something else than numbers.
    """
    file, name = find_source(source)
    reader = choose_reader(file)
    if name and not reader.several:
        raise FileMissingError(f"There is no file {shorten(source, 200)}; {file.label} holds one array without a name.")
    with damage_refused(file.label, f"{reader.suffixes[0]} file"):
        return file, reader.read(file, replace(request, array=name))


def read_matrix(source: str | os.PathLike[str], request: ReadRequest) -> LoadedArray:
    """Read the matrix that a file holds, with the columns that are wanted; raises as `read_file` does."""
    file, loaded = read_file(source, request)
    check_matrix(file.label, loaded.values)
    if request.columns is None or loaded.columns_chosen:
        return loaded
    chosen = choose_columns(request.columns, loaded.names, loaded.values.shape[1], file.label)
    names = tuple(loaded.names[i] for i in chosen) if loaded.names else None
    return replace(loaded, values=loaded.values[:, chosen], names=names, image_shape=None, columns_chosen=True)


def find_source(source: str | os.PathLike[str]) -> tuple[SourceFile, str]:
    """Return the file, and the name of the array where ``FILE:NAME`` or ``FILE::NAME`` was given."""
    text = os.fspath(source)
    try:
        return SourceFile.find(source), ""
    except FileMissingError as missing:
        first, colon, name = text.rpartition(":")
        if colon and name and first.rstrip(":"):
            try:
                return SourceFile.find(first.rstrip(":")), name
            except FileMissingError:
                pass
        raise FileMissingError(
            f"{missing} Give a file, or one of: digits, patches, photos, patches:FILE_OR_FOLDER."
        ) from missing


def choose_reader(file: SourceFile) -> Reader:
    """Return the reader for a file, by its content first.

    Raises
    ------
    FileFormatError
        When the file is empty, or of a kind that is not read.
    """
    if not file.head:
        raise FileFormatError(f"{file.label} is empty: it has no bytes.")
    for reader in READERS:
        if reader.recognises(file.head):
            return reader
    for signature, words in FOREIGN:
        if file.head.startswith(signature) and file.suffix != ".mat":
            raise FileFormatError(f"{file.label} is {words.format(label=file.label)}.")
    for reader in READERS:
        if file.suffix in reader.suffixes:
            return reader
    raise FileFormatError(f"{file.label} is of no known kind; known are {', '.join(SUFFIXES)} (also with .gz).")


def is_array_file(file: SourceFile) -> bool:
    """Whether a file holds arrays, and is not a picture or text."""
    return file.suffix == ".mat" or any(reader.recognises(file.head) for reader in READERS)


__all__ = ["READERS", "ReadRequest", "Reader", "find_source", "is_array_file", "read_file", "read_matrix"]
