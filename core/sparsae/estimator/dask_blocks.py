"""The estimator's methods on arrays and frames of Dask: lazy, block by block, on whatever computes the array."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.engine.dask_rows import as_dask_array
from sparsae.errors import DataError
from sparsae.training.result import History, TrainResult
from sparsae.transforms.base import result_dtype


def read_dask(data: Any, *, name: str = "X", lengths: bool) -> Any:
    """Return an array or a frame of Dask as an array of rows.

    Parameters
    ----------
    data : dask.array.Array or dask.dataframe.DataFrame
    name : str
    lengths : bool
        Have the rows of a frame counted; else chunks may be of unknown length.

    Raises
    ------
    DataError
        When it is no matrix of numbers.
    """
    array = as_dask_array(data, name, lengths=lengths)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise DataError(
            f"{name} is a Dask array of {array.dtype} with shape {array.shape}; "
            f"expected a matrix (n_samples, n_features) of real numbers."
        )
    return array


def transform_blocks(result: TrainResult, samples: Any) -> Any:
    """Return the hidden activations (n_samples, n_components) of a Dask array as one, in its blocks of rows."""
    return _map(_encode, result, samples, result.parameters.n_hidden)


def inverse_blocks(result: TrainResult, activations: Any) -> Any:
    """Return the samples (n_samples, n_features) of activations as a Dask array, in their blocks of rows.

    Raises
    ------
    DataError
        When these are not the activations of n_components units.
    """
    p = result.parameters.n_hidden
    if activations.shape[1] != p:
        raise DataError(f"X has {activations.shape[1]} columns; expected the activations of {p} components.")
    return _map(_decode, result, activations, result.parameters.n_visible)


def score_blocks(result: TrainResult, samples: Any) -> float:
    """Compute the negative mean squared error of the reconstruction, per feature."""
    chunks = ((1,) * samples.numblocks[0], (2,))
    dtype = np.dtype(np.float64)
    model = _model(result)
    parts = samples.map_blocks(_squares, model, dtype=dtype, chunks=chunks, meta=np.empty((0, 0), dtype))
    squares, count = np.asarray(parts.compute()).sum(axis=0)
    score: float = -float(squares) / (float(count) * samples.shape[1])
    return score


def _map(function: Any, result: TrainResult, rows: Any, width: int) -> Any:
    dtype = result_dtype(rows.dtype)
    chunks, meta = (rows.chunks[0], (width,)), np.empty((0, 0), dtype)
    return rows.map_blocks(function, _model(result), width, dtype=dtype, chunks=chunks, meta=meta)


def _model(result: TrainResult) -> TrainResult:
    """Return what blocks need of a result; the learning curve does not travel."""
    history = History(**{name: values[:0] for name, values in vars(result.history).items()})
    return replace(result, history=history, data={}, metrics={})


def _encode(block: NDArray[Any], model: TrainResult, width: int) -> Array:
    return model.encode(block, threads=1) if len(block) else np.empty((0, width), result_dtype(block.dtype))


def _decode(block: NDArray[Any], model: TrainResult, width: int) -> Array:
    return model.decode(block, threads=1) if len(block) else np.empty((0, width), result_dtype(block.dtype))


def _squares(block: NDArray[Any], model: TrainResult) -> NDArray[np.float64]:
    """Return the sum of squared errors of a block and its number of rows, (1, 2)."""
    if not len(block):
        return np.zeros((1, 2))
    transform = model.transform
    residual = model.reconstruct(block, threads=1).astype(np.float64)
    residual -= block if transform is None or transform.invertible else transform.apply(block)
    return np.array([[np.vdot(residual, residual), len(block)]])
