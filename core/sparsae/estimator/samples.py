"""Samples for the estimator: what scikit-learn's users hand in, checked as scikit-learn does, made rows to read.

Names and number of columns, finite values and shape are checked by scikit-learn.  What it would convert silently and
should not (text, dates) is refused by sparsae, with the names of the columns.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
from sklearn.utils import validation
from sklearn.utils.validation import check_array, validate_data

from sparsae._types import FLOATS, Array
from sparsae.engine.containers import as_matrix, conversion, gives_rows
from sparsae.engine.dask_rows import is_dask
from sparsae.errors import DataError
from sparsae.estimator.dask_blocks import read_dask
from sparsae.estimator.sparse_rows import SparseRows

NUMBERS = "fiub"
OBJECT_OR_COMPLEX = "Oc"  # scikit-learn converts the first where it can, and refuses the second


def read_samples(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Return checked samples: an array of float32 or float64, `SparseRows`, or as it is what is read in rows.

    Parameters
    ----------
    estimator : SparseAutoencoder
        Gets or has `n_features_in_` and `feature_names_in_`.
    X : array_like, frame or sparse matrix (n_samples, n_features)
    reset : bool
        Whether the columns are those of a new fit; else they must be those of the last one.

    Raises
    ------
    ValueError, TypeError
        Those of scikit-learn, or a `DataError`, which is a ValueError.
    """
    if is_dask(X):
        samples = read_dask(X, lengths=reset)
        described = X._meta if is_frame(X) else samples  # an empty frame of pandas has the names
        validate_data(estimator, described, reset=reset, skip_check_array=True)
        return samples
    if hasattr(X, "toarray"):
        return _sparse_rows(estimator, X, reset=reset)
    if is_frame(X):
        matrix = as_matrix(X, "X")
        whole = matrix if matrix.shape[1] != X.shape[1] else with_names(X)  # one column of arrays has no names
        validate_data(estimator, whole, reset=reset, skip_check_array=True)
        return check_array(matrix, dtype=float_dtypes(matrix), estimator=estimator, input_name="X")
    if is_read_in_rows(X):  # its values are checked as they are read
        return validate_data(estimator, X, reset=reset, skip_check_array=True)
    return validate_data(estimator, as_numbers(X), reset=reset, dtype=float_dtypes(X))


def is_frame(X: Any) -> bool:
    """Whether it is a table with named columns, of pandas, polars or another library."""
    return hasattr(X, "columns") and hasattr(X, "shape")


def is_read_in_rows(X: Any) -> bool:
    """Whether it is a matrix of numbers that need not be in memory: a memory map, a large file, HDF5, Zarr."""
    if type(X) is np.ndarray or not gives_rows(X):
        return False
    return len(X.shape) == 2 and X.dtype.kind in NUMBERS and (isinstance(X, np.memmap) or not isinstance(X, np.ndarray))


@final
class FrameNames:
    """The names of a frame's columns, in the form in which scikit-learn 1.6 to 1.8 reads those of any library.

    They read pandas and the dataframe interchange protocol, which newer frames (polars 2) do not have any more.
    """

    def __init__(self, frame: Any) -> None:
        self.shape = frame.shape
        self._names = [str(name) for name in frame.columns]

    def __dataframe__(self, *_: object, **__: object) -> FrameNames:
        return self

    def column_names(self) -> list[str]:
        """As in the protocol."""
        return self._names


def with_names(frame: Any) -> Any:
    """Return the frame, or its names where this scikit-learn would not find them and take any order of columns."""
    find_names = getattr(validation, "_get_feature_names", None)
    if find_names is None or find_names(frame) is not None or not all(isinstance(n, str) for n in frame.columns):
        return frame
    return FrameNames(frame)


def read_rows(samples: Any, rows: slice) -> Array:
    """Return some rows of what `read_samples` gave, as an array of float32 or float64."""
    block = np.asarray(samples[rows])
    return block.astype(float_dtypes(block)[0], copy=False) if block.dtype not in FLOATS else block


def as_numbers(X: Any) -> Any:
    """Return the data as an array; text and dates, which NumPy would turn into numbers, are refused.

    Raises
    ------
    DataError
    """
    array = X if isinstance(X, np.ndarray) else np.asarray(X)
    if array.dtype.kind not in NUMBERS + OBJECT_OR_COMPLEX:
        raise DataError(f"X has dtype {array.dtype}; expected real numbers. {conversion(array.dtype, 'X')}")
    return array


def float_dtypes(X: Any) -> list[type[np.floating[Any]]]:
    """Return the dtypes that are used as they are, first the one that others become: float32 for float16 data."""
    small = getattr(X, "dtype", None) == np.float16
    return [np.float32, np.float64] if small else [np.float64, np.float32]


def _sparse_rows(estimator: Any, X: Any, *, reset: bool) -> SparseRows:
    """Return the rows of a sparse matrix where those were asked for.

    Raises
    ------
    DataError
    """
    if not estimator.accept_sparse:
        raise DataError(
            f"X is a sparse matrix ({type(X).__name__}) of shape {X.shape}. Use accept_sparse=True to have its "
            f"rows made dense block by block, or pass X.toarray()."
        )
    matrix = validate_data(estimator, X, reset=reset, accept_sparse="csr", dtype=[np.float64, np.float32])
    return SparseRows(matrix)
