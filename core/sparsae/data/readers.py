"""Readers: one matrix from a .npy, .npz, .csv, .tsv, .txt (also .gz) or .mat file."""

from __future__ import annotations

import csv
import gzip
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TextIO

import numpy as np

from sparsae.errors import DataError, FileAccessError, FileFormatError, FileMissingError

Matrix = np.ndarray[Any, Any]
DELIMITERS = ",;\t"


def read_matrix(source: str | os.PathLike[str]) -> Matrix:
    """Read the matrix that a file holds.

    Parameters
    ----------
    source : str or path-like
        The file; "FILE:NAME" picks one array of an .npz or .mat file.

    Returns
    -------
    ndarray (n_samples, n_visible)
        A read-only memory map for .npy.

    Raises
    ------
    FileMissingError, FileAccessError
        When there is no such file, or it may not be read.
    FileFormatError
        When it is of an unknown kind, truncated, or not what its name says.
    DataError
        When it holds something else than one matrix of numbers; text in a table is named by line and column.
    """
    path, name = Path(source), ""
    if not path.exists() and ":" in str(source):
        first, _, name = str(source).rpartition(":")
        path = Path(first)
    if not path.exists():
        raise FileMissingError(
            f"There is no file {path}. Give a file, or one of: digits, patches, photos, patches:FILE_OR_FOLDER."
        )
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder. For pictures in it use patches:{path}.")
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) == 2 else "".join(suffixes[-1:])
    if kind not in READERS:
        raise FileFormatError(f"{path} is of no known kind; known are {', '.join(READERS)} (text also with .gz).")
    if name and kind not in (".npz", ".mat"):
        raise FileMissingError(f"There is no file {source}.")
    try:
        return READERS[kind](path, name)
    except PermissionError as error:
        raise FileAccessError(f"{path} cannot be read: {error.strerror}.") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is truncated or not a {kind} file: {error}") from error


def _read_npy(path: Path, name: str) -> Matrix:
    """Map the file into memory."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except ValueError as error:
        if "Object arrays" in str(error) or "object" in str(error).lower():
            raise DataError(f"{path} holds Python objects, not numbers; save it from an array of floats.") from error
        raise FileFormatError(f"{path} is truncated or not a .npy file: {error}") from error


def _read_npz(path: Path, name: str) -> Matrix:
    """Read the named array, or the only matrix."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise FileFormatError(f"{path} is not an .npz file.")
            return _pick(path, {key: partial(archive.__getitem__, key) for key in archive.files}, name)
    except ValueError as error:
        if isinstance(error, (DataError, FileFormatError)):
            raise
        raise FileFormatError(f"{path} cannot be read as .npz: {error}") from error


def _read_mat(path: Path, name: str) -> Matrix:
    """Read the named variable, or the only matrix, of a Matlab file (version 7 or older)."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        with path.open("rb") as file:
            found = loadmat(file)
    except NotImplementedError as error:
        raise FileFormatError(
            f"{path} is a Matlab 7.3 file, which is HDF5: save it with -v7, or pass h5py's data set in Python."
        ) from error
    except (ValueError, TypeError, KeyError, MatReadError) as error:
        raise FileFormatError(f"{path} is truncated or not a .mat file: {error}") from error
    variables = {key: value for key, value in found.items() if not key.startswith("__")}
    return _pick(path, {key: partial(variables.__getitem__, key) for key in variables}, name)


def _pick(path: Path, arrays: Mapping[str, Callable[[], Any]], name: str) -> Matrix:
    """Return the named array, or the only matrix with more than one row; else say what there is."""
    if name:
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}; it has {', '.join(arrays) or 'none'}.")
        return np.asarray(arrays[name]())
    found = {}
    for key, get in arrays.items():
        value = np.asarray(get())
        if value.ndim == 2 and value.dtype.kind in "fiub" and len(value) > 1:
            found[key] = value
    if len(found) == 1:
        return next(iter(found.values()))
    what = f"{len(found)} matrices" if found else "no matrix of numbers"
    raise DataError(f"{path} has {what}; name one as {path}:NAME. It has {', '.join(arrays) or 'no arrays'}.")


def _read_text(path: Path, name: str) -> Matrix:
    """Read a table of numbers; a first line of words is taken for column names."""
    delimiter, header = _layout(path)
    try:
        with _open_text(path) as file:
            return np.loadtxt(file, delimiter=delimiter, skiprows=header, ndmin=2)
    except ValueError as error:
        _name_bad_cell(path, delimiter, header)
        raise DataError(f"{path}: {error}") from error


def _open_text(path: Path) -> TextIO:
    """Open plain or gzipped text; a byte order mark is dropped."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _cells(file: TextIO, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells, without comments and empty lines."""
    for number, line in enumerate(file, start=1):
        text = line.split("#")[0].strip()
        if text:
            yield number, text.split() if delimiter is None else next(csv.reader([text], delimiter=delimiter))


def _layout(path: Path) -> tuple[str | None, int]:
    """Delimiter (None: white space) and number of lines to skip."""
    with _open_text(path) as file:
        for number, line in enumerate(file, start=1):
            text = line.split("#")[0].strip()
            if not text:
                continue
            counts = {delimiter: text.count(delimiter) for delimiter in DELIMITERS}
            best = max(counts, key=lambda delimiter: counts[delimiter])
            delimiter = best if counts[best] else None
            cells = text.split() if delimiter is None else next(csv.reader([text], delimiter=delimiter))
            return delimiter, 0 if any(_is_number(cell) for cell in cells) else number
    raise DataError(f"{path} is empty: there is no line with numbers in it.")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _name_bad_cell(path: Path, delimiter: str | None, header: int) -> None:
    """Raise `DataError` for the first cell that is no number, or the first line of another length."""
    expected = 0
    with _open_text(path) as file:
        for number, cells in _cells(file, delimiter):
            if number <= header:
                continue
            for column, cell in enumerate(cells, start=1):
                if not _is_number(cell):
                    _refuse_cell(path, number, column, cell)
            expected = expected or len(cells)
            if len(cells) != expected:
                raise DataError(
                    f"{path}: line {number} has {len(cells)} columns where the lines before have {expected}."
                )


def _refuse_cell(path: Path, line: int, column: int, cell: str) -> NoReturn:
    what = "is empty" if not cell.strip() else f"is {cell.strip()!r}, which is not a number"
    raise DataError(f"{path}: the cell in line {line}, column {column} {what}.")


READERS: dict[str, Callable[[Path, str], Matrix]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_text,
    ".tsv": _read_text,
    ".txt": _read_text,
    ".mat": _read_mat,
}
