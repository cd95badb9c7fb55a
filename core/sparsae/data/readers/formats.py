"""The formats: how each is recognised, and which function reads it.

Every reader is a function of a `SourceFile` and a `ReadRequest` that returns a `LoadedArray`.  A new format is one
module with such a function and one row in the table `READERS`.  The content decides which reader is used; the ending of
the name counts only for text and for Matlab 4, which have no signature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from sparsae.data.readers.entries import LoadedArray, ReadRequest
from sparsae.data.readers.feather import SIGNATURE as ARROW
from sparsae.data.readers.feather import VERSION_1 as FEATHER_1
from sparsae.data.readers.feather import read_feather
from sparsae.data.readers.hdf5 import is_hdf5, is_mat73, read_hdf5
from sparsae.data.readers.idx import is_idx, read_idx
from sparsae.data.readers.matlab import is_mat5, read_mat
from sparsae.data.readers.npy import MAGIC, read_npy
from sparsae.data.readers.npz import read_npz
from sparsae.data.readers.parquet import SIGNATURE as PARQUET
from sparsae.data.readers.parquet import read_parquet
from sparsae.data.readers.safetensors import is_safetensors, read_safetensors
from sparsae.data.readers.source_file import SourceFile
from sparsae.data.readers.table import read_table
from sparsae.data.readers.torch_file import is_torch, read_torch
from sparsae.errors import FileFormatError

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


def is_npz(head: bytes) -> bool:
    """Whether these first bytes are those of a zip archive that torch has not written."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06")) and not is_torch(head)


READERS = (
    Reader((".npy",), lambda head: head.startswith(MAGIC), read_npy),
    Reader((".npz",), is_npz, read_npz, several=True),
    Reader((".mat",), lambda head: is_mat5(head) or is_mat73(head), read_mat, several=True),
    Reader((".csv", ".tsv", ".txt"), lambda head: False, read_table),
    Reader((".parquet",), lambda head: head.startswith(PARQUET), read_parquet),
    Reader((".feather", ".arrow"), lambda head: head.startswith((ARROW, FEATHER_1)), read_feather),
    Reader((".h5", ".hdf5"), is_hdf5, read_hdf5, several=True),
    Reader((".safetensors",), is_safetensors, read_safetensors, several=True),
    Reader((".pt", ".pth"), is_torch, read_torch, several=True),
    Reader((".idx",), is_idx, read_idx),
)
SHARDS = (".npy", ".parquet", ".feather", ".arrow", ".safetensors", ".pt", ".h5", ".hdf5")
"""Kinds of files of which a folder may be full: their rows are read when they are needed."""
SUFFIXES = tuple(suffix for reader in READERS for suffix in reader.suffixes)
PICTURE = "a picture: use patches:{label}, which cuts patches from it"
FOREIGN = (
    (b"\x89PNG", PICTURE),
    (b"\xff\xd8\xff", PICTURE),
    (b"GIF8", PICTURE),
    (b"II*\0", PICTURE),
    (b"MM\0*", PICTURE),
    (b"\x80\x02", "a pickle, which can run code when it is read: save a plain array with numpy.save"),
    (b"\x80\x03", "a pickle, which can run code when it is read: save a plain array with numpy.save"),
    (b"\x80\x04", "a pickle, which can run code when it is read: save a plain array with numpy.save"),
    (b"\x80\x05", "a pickle, which can run code when it is read: save a plain array with numpy.save"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of an office program: export it as CSV"),
    (b"%PDF", "a PDF document: export the numbers as CSV"),
    (b"SQLite format 3", "an SQLite database: export the table as CSV"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: decompress it first, or use gzip, bzip2 or xz"),
)


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
    raise FileFormatError(
        f"{file.label} is of no known kind; known are {', '.join(SUFFIXES)}, some of them also compressed (.gz, .bz2, "
        f".xz), and folders of Zarr."
    )


def is_array_file(file: SourceFile) -> bool:
    """Whether a file holds arrays, and is not a picture or text."""
    return file.suffix == ".mat" or any(reader.recognises(file.head) for reader in READERS)
