"""What a user hands in as data, made an array or something that gives rows; what hides values is refused.

A list, a frame or a masked array becomes a NumPy array.  What has shape, dtype and row slicing (a NumPy array, a memory
map, a `RowFile`, HDF5, Zarr) stays what it is; an array or a frame of Dask is computed, chunk by
chunk where it is large.  The name of a file stands for its rows.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np

from sparsae._text import listed, plural, printable
from sparsae.engine.dask_rows import as_dask_array, is_dask, rows_of_dask
from sparsae.engine.frames import frame_values
from sparsae.engine.row_file import RowFile
from sparsae.errors import DataError


def as_matrix(data: Any, name: str) -> Any:
    """Return an array, or an object with shape, dtype and row slicing: a non-empty matrix of real numbers.

    Parameters
    ----------
    data : array_like, or the name of a file
        As `sparsae.data.load` takes it, without options.
    name : str
        How messages call it: "X" or "target".

    Raises
    ------
    DataError
        Says what it is and what to do.
    FileMissingError, FileAccessError, FileFormatError, MissingExtraError
        When a file cannot be read.
    """
    if isinstance(data, (str, os.PathLike)):
        data = _rows_of_file(data, name)
    if is_dask(data):
        array = as_dask_array(data, name)
        check_matrix(array, name)
        return rows_of_dask(array, name)
    data = without_mask(data, name)
    if hasattr(data, "toarray"):
        raise DataError(
            f"{name} is a sparse matrix ({type(data).__name__}); only dense data is supported: pass {name}.toarray()."
        )
    values = frame_values(data, name)
    if values is not None:
        data = values
    elif not gives_rows(data):
        try:
            data = np.asarray(data)
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(f"{name} cannot be made an array: {error}") from error
    check_matrix(data, name)
    return data


def _rows_of_file(path: str | os.PathLike[str], name: str) -> Any:
    """Return the rows of a file: in memory, or where they are many, to be read from it."""
    # The readers lie above this package and are needed by those alone who name a file: found by name, as a plugin is.
    loaded = importlib.import_module("sparsae.data").load(path)
    if loaded.transform is not None:
        raise DataError(
            f"{name} is {str(path)!r}, bundled data with a transform, which new data needs too: pass the X of "
            f"sparsae.data.load({str(path)!r}) and keep its transform."
        )
    return loaded.X


def gives_rows(data: Any) -> bool:
    """Whether it has what is needed to read its rows block by block."""
    if isinstance(data, (np.ndarray, RowFile)):
        return True
    return all(hasattr(data, a) for a in ("shape", "dtype", "__getitem__")) and isinstance(data.dtype, np.dtype)


def without_mask(data: Any, name: str) -> Any:
    """Return the data; the values of a masked array, in which nothing may be masked."""
    if not isinstance(data, np.ma.MaskedArray):
        return data
    masked = int(np.count_nonzero(np.ma.getmaskarray(data)))
    if masked:
        raise DataError(
            f"{name} is a masked array with {plural(masked, 'masked value')} of {data.size:,}; a mask is not used. "
            f"Fill them, for example {name}.filled({name}.mean()), or drop the rows: numpy.ma.compress_rows({name})."
        )
    return np.ma.getdata(data)


def check_matrix(data: Any, name: str) -> None:
    """Raise `DataError` unless it is a non-empty matrix of real numbers."""
    dtype, shape = np.dtype(data.dtype), tuple(data.shape)
    if dtype.kind == "O":
        if shape == ():
            raise DataError(_not_an_array(data[()], name))
        raise DataError(f"{name} has dtype object{_first_object(data)}. {conversion(dtype, name)}")
    if dtype.kind not in "fiub":
        raise DataError(f"{name} has dtype {dtype}; expected real numbers. {conversion(dtype, name)}")
    if len(shape) != 2:
        raise DataError(
            f"{name} has shape {shape}; expected a matrix (n_samples, n_visible), one sample a row."
            + (f" For one sample use {name}.reshape(1, -1)." if len(shape) == 1 else "")
        )
    if any(np.isnan(length) for length in shape):
        raise DataError(
            f"{name} is an array of unknown length: its shape is {shape}. "
            f"Have its rows counted: {name}.compute_chunk_sizes()."
        )
    if 0 in shape:
        raise DataError(f"{name} is empty: its shape is {shape}; at least one sample and one input are needed.")


def conversion(dtype: np.dtype[Any], name: str) -> str:
    """Say how values of a dtype become real numbers: what NumPy does not convert is told apart."""
    if dtype.names:
        way = f"with numpy.column_stack([{name}[field] for field in {name}.dtype.names])"
    elif dtype.kind == "c":
        way = f"its size, abs({name}), or real and imaginary parts as columns, numpy.hstack([{name}.real, {name}.imag])"
    elif dtype.kind == "M":
        way = f"days since the first, ({name} - {name}.min()) / numpy.timedelta64(1, 'D')"
    elif dtype.kind == "m":
        way = f"days, {name} / numpy.timedelta64(1, 'D')"
    else:
        way = f"with numpy.asarray({name}, dtype=float)"
    return f"Convert it first, for example {way}."


def _not_an_array(value: object, name: str) -> str:
    """Return what to say of one object, such as scikit-learn's Bunch, that NumPy makes no array of."""
    kind = type(value).__name__
    if isinstance(value, Mapping) and value:
        keys = [printable(repr(key)) for key in value]
        return (
            f"{name} is of type {kind}, not a matrix; give one of its values, {name}[{keys[0]}] (keys: {listed(keys)})."
        )
    return f"{name} is of type {kind}, which NumPy makes no matrix of; give an array (n_samples, n_visible)."


def _first_object(data: Any) -> str:
    """Say which value of an object array is not a number, and where."""
    if not isinstance(data, np.ndarray):
        return "; expected real numbers"
    for place, value in np.ndenumerate(data):
        if value is None or not isinstance(value, (int, float, np.number, np.bool_)):
            where = ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column"), place, strict=False))
            what = "no number of NumPy" if isinstance(value, Number) else "not a number"
            return f": it holds {printable(repr(value))[:40]} in {where} (counted from 0), which is {what}"
    return " although it holds numbers alone"
