"""Dask arrays and frames as data: recognised, made arrays, and read where no cluster holds them.

Nothing here imports Dask: its objects are known by the module that their class comes from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae._text import listed, plural, printable
from sparsae.engine.chunked_rows import GROUP_BYTES, ChunkedRows
from sparsae.errors import DataError
from sparsae.machine.resources import memory_limit

NUMBERS = "fiub"


def is_dask(data: object) -> bool:
    """Whether it is an array or a frame of Dask."""
    return type(data).__module__.startswith(("dask.", "dask_expr.")) and hasattr(data, "__dask_graph__")


def as_dask_array(data: Any, name: str, *, lengths: bool | Callable[[Any], list[int]] = True) -> Any:
    """Return an array or frame of Dask as an array with all columns in one chunk.

    Parameters
    ----------
    data : dask.array.Array or dask.dataframe.DataFrame
    name : str
        How messages call it: "X" or "target".
    lengths : bool or callable
        Have the rows of a frame counted, which computes it once, or by a function of it; else the array has chunks of
        unknown length.

    Raises
    ------
    DataError
        When it is something else of Dask, columns hold no numbers, or chunks are no plain arrays.
    """
    if hasattr(type(data), "to_dask_array"):  # of the class: a Delayed answers for any name
        if data.ndim == 2:
            _check_columns(data, name)
        data = data.to_dask_array(lengths=lengths(data) if callable(lengths) else lengths or None)
    if not hasattr(type(data), "chunks"):
        kind = type(data).__name__
        raise DataError(f"{name} is a {kind} of Dask; give an array or a frame, such as dask.array.from_delayed(...).")
    meta = data._meta
    if not isinstance(meta, np.ndarray) or isinstance(meta, np.ma.MaskedArray):
        raise DataError(
            f"{name} is a Dask array whose chunks are of type {type(meta).__name__}; dense arrays without a mask are "
            f"needed: convert them with {name}.map_blocks(...)."
        )
    return data.rechunk({1: -1}) if data.ndim == 2 and data.numblocks[1] > 1 else data


def _check_columns(frame: Any, name: str) -> None:
    """Raise `DataError` where columns hold no numbers; names them."""
    dtypes = [getattr(dtype, "numpy_dtype", dtype) for dtype in frame.dtypes]
    text = [
        f"{printable(label)} ({dtype})"
        for label, dtype in zip(frame.columns, dtypes, strict=True)
        if not isinstance(dtype, np.dtype) or dtype.kind not in NUMBERS
    ]
    if text:
        raise DataError(
            f"{name} has {plural(len(text), 'column')} that {'is' if len(text) == 1 else 'are'} not of numbers: "
            f"{listed(text)}. Drop or convert them, for example with dask.dataframe.to_numeric."
        )


def client_of(data: object) -> Any:
    """Return the client of the cluster that computes an array or frame of Dask; None where there is no such client.

    That is the client of the futures in it where it was persisted, else the one that Dask would use at present.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None or not is_dask(data):
        return None
    from dask.base import get_scheduler

    futures = distributed.client.futures_of(data)
    if futures:
        return futures[0].client
    owner = getattr(get_scheduler(collections=[data]), "__self__", None)
    return owner if isinstance(owner, distributed.Client) else None


def rows_of_dask(array: Any, name: str) -> NDArray[Any] | ChunkedRows:
    """Return the rows of a Dask array: computed now where they take at most half of the memory, as a file is loaded.

    Larger ones are computed chunk by chunk: each once where they are read in order.
    """
    m, n_bytes = array.shape[0], array.nbytes
    if n_bytes <= memory_limit() // 2:
        return np.asarray(_compute(array, name, 0, m))
    bounds = [0]
    for end in accumulate(array.chunks[0]):
        small = len(bounds) > 1 and (end - bounds[-2]) * (n_bytes // m) <= GROUP_BYTES
        bounds[-1:] = [end] if small else [bounds[-1], end]
    dtype = np.dtype(array.dtype)
    return ChunkedRows(name, tuple(array.shape), dtype, bounds, lambda first, last: _compute(array, name, first, last))


def _compute(array: Any, name: str, first: int, last: int) -> NDArray[Any]:
    try:
        rows: NDArray[Any] = array[first:last].compute()
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(
            f"{name}: rows {first} to {last - 1} (counted from 0) of the Dask array cannot be computed: "
            f"{type(error).__name__}: {printable(error)[:200]}."
        ) from error
    return rows
