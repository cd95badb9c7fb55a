"""Readers of data files: each checks what a file declares before it allocates, and refuses damage in one line.

`read_matrix` is the way of every command and of `sparsae.data.load`: find the place, read it with the reader of its
format, choose columns, exchange rows and columns where that is asked for, load what fits the memory share, and look for
missing values.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sparsae.data.readers.columns import choose_columns
from sparsae.data.readers.entries import LoadedArray, ReadRequest, check_matrix
from sparsae.data.readers.formats import READERS, SHARDS, Reader, choose_reader, is_array_file
from sparsae.data.readers.limits import check_piece, memory_share
from sparsae.data.readers.missing import handle_missing
from sparsae.data.readers.parquet_metadata import metadata_process
from sparsae.data.readers.places import Place, find_source
from sparsae.data.readers.row_views import ChosenColumns
from sparsae.data.readers.shards import open_shards
from sparsae.data.readers.source_file import SourceFile, damage_refused, path_goes_by, path_label
from sparsae.data.readers.zarr_store import is_zarr, read_zarr
from sparsae.engine.row_file import RowFile
from sparsae.errors import FileFormatError, FileMissingError


def read_file(source: str | os.PathLike[str], request: ReadRequest) -> tuple[str, LoadedArray]:
    """Read the array that a file holds, and return how messages call the file; "FILE:NAME" picks one of several.

    Raises
    ------
    FileMissingError, FileAccessError
        When there is no such file, it may not be read, or it is a pipe or a device.
    FileFormatError
        When it is of an unknown kind, damaged, not what its name says, or too large.
    DataError
        When it holds something else than numbers.
    MissingExtraError
        When the library that reads it is not installed.
    """
    place = find_source(source)
    if place.shards:
        with metadata_process():
            loaded = open_shards(place.label, place.shards, lambda path: _open_shard(path, place.array, request))
    elif place.file is None:
        loaded = read_zarr(place.path, place.label, replace(request, array=place.array))
    else:
        loaded = _read(place.file, replace(request, array=place.array))
    return place.label, loaded


def _read(file: SourceFile, request: ReadRequest) -> LoadedArray:
    reader = choose_reader(file)
    if request.array and not reader.several:
        raise FileMissingError(
            f"There is no file {path_label(f'{file.path}:{request.array}')}; {file.label} holds one array without "
            f"a name."
        )
    with damage_refused(file.label, f"{reader.suffixes[0]} file"):
        return reader.read(file, request)


def _open_shard(path: Path, array: str, request: ReadRequest) -> LoadedArray:
    """Return the rows of one file of several, which stay in it."""
    request = replace(request, array=array, stay=True)
    label = path_label(path)
    loaded = read_zarr(path, label, request) if is_zarr(path) else _read(SourceFile.find(path), request)
    check_matrix(label, loaded.values, may_be_empty=True)
    if not isinstance(loaded.values, RowFile):
        raise FileFormatError(
            f"{label} is one of several files, and its format cannot be read block by block; save them as "
            f"{', '.join(SHARDS)}, or give one file."
        )
    return _with_columns(label, loaded, request)


def read_matrix(source: str | os.PathLike[str], request: ReadRequest) -> LoadedArray:
    """Read the matrix that a file holds: with the columns that are wanted, samples as rows, nothing missing.

    The rows of one that is larger than the memory share stay in the file where its format allows it.

    Raises
    ------
    FileFormatError
        When it is too large to be transposed; else as `read_file`.
    DataError
        When values are missing; else as `read_file`.
    """
    label, loaded = read_file(source, request)
    check_matrix(label, loaded.values)
    loaded = _with_columns(label, loaded, request)
    if request.transpose:
        loaded = replace(loaded, values=_transposed(label, loaded.values), names=None, image_shape=None, missing=None)
    if isinstance(loaded.values, RowFile):
        check_piece(label, loaded.values.piece_rows, loaded.values.n_bytes // max(1, loaded.values.shape[0]))
    if isinstance(loaded.values, RowFile) and not request.stay and loaded.values.n_bytes <= memory_share():
        note = f"{label} is {loaded.values.stored_as}; it is read as {loaded.values.dtype}."
        notes = (*loaded.notes, note) if loaded.values.stored_as else loaded.notes
        loaded = replace(loaded, values=loaded.values[:], notes=notes)
    loaded = handle_missing(label, loaded, drop=request.drop_missing)
    check_matrix(label, loaded.values)
    if isinstance(loaded.values, RowFile):
        loaded.values.opener = partial(_open_rows, os.path.abspath(source), replace(request, stay=True))  # noqa: PTH100
    return loaded


def _open_rows(source: str, request: ReadRequest) -> RowFile:
    """Open rows that another process has opened before."""
    rows: RowFile = read_matrix(source, request).values
    return rows


def describe(source: str | os.PathLike[str], request: ReadRequest) -> str | None:
    """Return in a few words what a file of data holds; None for text, archives and models, which have to be read."""
    place = find_source(source)
    if place.file is not None and (place.file.suffix == ".npz" or not is_array_file(place.file)):
        return None
    _, loaded = read_file(source, request)
    return f"an array of shape {loaded.values.shape}"


def _with_columns(label: str, loaded: LoadedArray, request: ReadRequest) -> LoadedArray:
    """Return the columns that are wanted, where the reader has not chosen them already."""
    if request.columns is None or loaded.columns_chosen:
        return loaded
    chosen = choose_columns(request.columns, loaded.names, loaded.values.shape[1], label)
    names = tuple(loaded.names[i] for i in chosen) if loaded.names else None
    values = loaded.values
    values = ChosenColumns(values, chosen, names) if isinstance(values, RowFile) else values[:, chosen]
    return replace(loaded, values=values, names=names, image_shape=None, columns_chosen=True, missing=None)


def _transposed(label: str, values: Any) -> Any:
    """Return samples as rows, of a matrix with samples as columns."""
    if isinstance(values, RowFile):
        turned = values.transposed()
        if turned is not None:
            return turned
        if values.n_bytes > memory_share() // 2:
            raise FileFormatError(
                f"{label} is too large to be transposed in memory; save it with one sample in each row."
            )
        values = values[:]
    return np.ascontiguousarray(values.T)


__all__ = [
    "READERS",
    "Place",
    "ReadRequest",
    "Reader",
    "describe",
    "find_source",
    "is_array_file",
    "path_goes_by",
    "read_file",
    "read_matrix",
]
